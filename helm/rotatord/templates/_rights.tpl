{{/*
What the plugins that the configuration names call in this cluster, as a list of rights {namespace, group, resource, verbs, names}.
The truth is each plugin's own `rights`, which `rotatord rights` prints; tests compare the two.
A plugin with a kubeconfig of its own speaks as somebody else, or to another cluster: nothing is granted for it.
*/}}
{{- define "rotatord.rights" -}}
{{- printf "[%s]" (include "rotatord.eachRight" . | trimPrefix ",") -}}
{{- end -}}

{{/* Each right as JSON behind a comma: with thousands of credentials, a list that grows would be copied for each. */}}
{{- define "rotatord.eachRight" -}}
{{- $config := include "rotatord.config" . | fromJson -}}
{{- $backends := include "rotatord.ofThisCluster" (dict "plugins" $config.backends "type" "kubernetes") | fromJson -}}
{{- $issuers := include "rotatord.ofThisCluster" (dict "plugins" $config.issuers "type" "kubernetes_token") | fromJson -}}
{{- $own := .Release.Namespace -}}
{{- range $credential := $config.credentials -}}
  {{- range $number, $destination := $credential.destinations -}}
    {{- with get $backends ($destination.backend | toString) -}}
      {{- $place := dict "at" $destination "plugin" . "home" (eq $number 0) "default" (.namespace | default $own) "of" (printf "credential %s, a destination" $credential.name) -}}
      {{- include "rotatord.rightsOfDestination" $place -}}
      {{- include "rotatord.rightOfPin" . -}}
    {{- end -}}
  {{- end -}}
  {{- range $consumer := $credential.consumers -}}
    {{- range $copy := $consumer.copies -}}
      {{- with get $backends ($copy.backend | toString) -}}
        {{- $place := dict "at" $copy "default" (.namespace | default $own) "of" (printf "credential %s, a copy" $credential.name) -}}
        {{- include "rotatord.rightsOfCopy" $place -}}
        {{- include "rotatord.rightOfPin" . -}}
      {{- end -}}
    {{- end -}}
    {{- if and (has $consumer.type (list "deployment" "statefulset" "daemonset")) (not $consumer.kubeconfig) (not $consumer.context) -}}
      {{- $place := dict "at" $consumer "of" (printf "credential %s, a consumer" $credential.name) -}}
      {{- include "rotatord.rightsOfWorkload" $place -}}
      {{- include "rotatord.rightOfPin" $consumer -}}
    {{- end -}}
  {{- end -}}
  {{- with get $issuers ($credential.issuer | toString) -}}
    {{- $place := dict "at" ($credential.parameters | default dict) "plugin" . "default" .namespace "of" (printf "credential %s, parameters" $credential.name) -}}
    {{- include "rotatord.rightsOfToken" $place -}}
    {{- include "rotatord.rightOfPin" . -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The named plugins of a type that use this pod's own token. */}}
{{- define "rotatord.ofThisCluster" -}}
{{- $found := dict -}}
{{- $type := .type -}}
{{- range $name, $plugin := (.plugins | default dict) -}}
  {{- if and (kindIs "map" $plugin) (eq (dig "type" "" $plugin) $type) (not $plugin.kubeconfig) (not $plugin.context) -}}
    {{- $_ := set $found $name $plugin -}}
  {{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/*
Text at one of the keys of a place, the first that is given, or an end: a name that YAML took for a number would grant something
else. {at, of, keys, default}.
*/}}
{{- define "rotatord.text" -}}
{{- $value := .default -}}
{{- range $key := reverse .keys -}}
  {{- with get $.at $key -}}{{- $value = . -}}{{- end -}}
{{- end -}}
{{- if not (kindIs "string" $value) -}}
{{- fail (printf "config: %s: %s should be text, in quotes where YAML could take it for a number" .of (first .keys)) -}}
{{- end -}}
{{- $value -}}
{{- end -}}

{{- define "rotatord.rightsOfDestination" -}}
{{- $namespace := include "rotatord.text" (dict "at" .at "of" .of "default" .default "keys" (list "namespace")) -}}
{{- $name := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "name")) -}}
{{- $names := list $name -}}
{{- if .home -}}
  {{- $form := .plugin.slots | default "{name}-rotatord-{slot}" | replace "{name}" $name -}}
  {{- $names = append $names ($form | replace "{slot}" "pending") -}}
  {{- $names = append $names ($form | replace "{slot}" "previous") -}}
{{- end -}}
{{- include "rotatord.right" (list $namespace "" "secrets" (list "get" "patch") $names) -}}
{{- include "rotatord.right" (list $namespace "" "secrets" (list "create")) -}}
{{- end -}}

{{- define "rotatord.rightsOfCopy" -}}
{{- $namespace := include "rotatord.text" (dict "at" .at "of" .of "default" .default "keys" (list "namespace")) -}}
{{- $name := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "name")) -}}
{{- include "rotatord.right" (list $namespace "" "secrets" (list "get") (list $name)) -}}
{{- end -}}

{{- define "rotatord.rightsOfWorkload" -}}
{{- $namespace := include "rotatord.text" (dict "at" .at "of" .of "default" .default "keys" (list "namespace")) -}}
{{- $name := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "workload" "name")) -}}
{{- $kind := .at.type -}}
{{- $observed := eq (.at.strategy | default "restart") "observe" -}}
{{- include "rotatord.right" (list $namespace "apps" (printf "%ss" $kind) ($observed | ternary (list "get") (list "get" "patch")) (list $name)) -}}
{{- include "rotatord.right" (list $namespace "" "pods" (list "list")) -}}
{{- if eq $kind "deployment" -}}
{{- include "rotatord.right" (list $namespace "apps" "replicasets" (list "list")) -}}
{{- else if and (eq $kind "statefulset") (not $observed) -}}
{{- include "rotatord.right" (list $namespace "" "pods" (list "delete")) -}}
{{- end -}}
{{- end -}}

{{/* Tokens of a ServiceAccount, each bound to a marker: one of a few Secrets whose names are known. Reviews belong to no namespace. */}}
{{- define "rotatord.rightsOfToken" -}}
{{- $namespace := include "rotatord.text" (dict "at" .at "of" .of "default" .default "keys" (list "namespace")) -}}
{{- $account := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "service_account")) -}}
{{- $base := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "marker") "default" $account) -}}
{{- $markers := list -}}
{{- range $number := untilStep 1 (int (.plugin.markers | default 4 | add1)) 1 -}}
  {{- $markers = append $markers (printf "%s-rotatord-token-%d" $base $number) -}}
{{- end -}}
{{- include "rotatord.right" (list $namespace "" "serviceaccounts/token" (list "create") (list $account)) -}}
{{- include "rotatord.right" (list $namespace "" "secrets" (list "create")) -}}
{{- include "rotatord.right" (list $namespace "" "secrets" (list "get" "patch" "delete") $markers) -}}
{{- include "rotatord.right" (list "" "authentication.k8s.io" "tokenreviews" (list "create")) -}}
{{- end -}}

{{/* What looking takes, where the cluster that is meant is named. */}}
{{- define "rotatord.rightOfPin" -}}
{{- if .cluster_uid -}}
{{- include "rotatord.right" (list "" "" "namespaces" (list "get") (list "kube-system")) -}}
{{- end -}}
{{- end -}}

{{/* One right from namespace, group, resource, verbs and, where there are some, names. */}}
{{- define "rotatord.right" -}}
{{- $names := gt (len .) 4 | ternary (last .) list -}}
,{{- dict "namespace" (index . 0) "group" (index . 1) "resource" (index . 2) "verbs" (index . 3) "names" $names | toJson -}}
{{- end -}}

{{/*
Those rights as the rules of one Role per namespace, in JSON: rights that differ in nothing but names are one rule. Namespace "" is
for what belongs to none: a ClusterRole.
*/}}
{{- define "rotatord.rulesByNamespace" -}}
{{- $spaces := dict -}}
{{- range include "rotatord.rights" . | fromJsonArray -}}
  {{- $key := printf "%s/%s/%s/%t" .group .resource (join "," .verbs) (not (empty .names)) -}}
  {{- if not (hasKey $spaces .namespace) -}}{{- $_ := set $spaces .namespace dict -}}{{- end -}}
  {{- $space := get $spaces .namespace -}}
  {{- if not (hasKey $space $key) -}}
    {{- $_ := set $space $key (dict "rule" (dict "apiGroups" (list .group) "resources" (list .resource) "verbs" .verbs) "names" dict) -}}
  {{- end -}}
  {{- $names := get (get $space $key) "names" -}}
  {{- range .names -}}{{- $_ := set $names . true -}}{{- end -}}
{{- end -}}
{{- $rules := dict -}}
{{- range $namespace, $space := $spaces -}}
  {{- $ordered := list -}}
  {{- range $key, $found := $space -}}
    {{- if $found.names -}}{{- $_ := set $found.rule "resourceNames" (keys $found.names | sortAlpha) -}}{{- end -}}
    {{- $ordered = append $ordered $found.rule -}}
  {{- end -}}
  {{- $_ := set $rules $namespace $ordered -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}
