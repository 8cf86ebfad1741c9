{{/* What things are called, and the labels by which they are found. */}}

{{- define "rotatord.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "rotatord.fullname" -}}
{{- $name := include "rotatord.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "rotatord.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "rotatord.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Never changes between releases of the chart: a StatefulSet's selector cannot. */}}
{{- define "rotatord.selector" -}}
app.kubernetes.io/name: {{ include "rotatord.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: daemon
{{- end -}}

{{- define "rotatord.testSelector" -}}
app.kubernetes.io/name: {{ include "rotatord.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{- define "rotatord.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "rotatord.fullname" .) -}}
{{- end -}}

{{- define "rotatord.claim" -}}
{{- .Values.persistence.existingClaim | default (printf "%s-state" (include "rotatord.fullname" .)) -}}
{{- end -}}

{{- define "rotatord.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* In namespaces of others too, so it says whose it is: two releases of one name may meet there. */}}
{{- define "rotatord.roleName" -}}
{{- printf "%s:%s" .Release.Namespace (include "rotatord.fullname" .) -}}
{{- end -}}
