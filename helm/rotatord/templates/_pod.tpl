{{/* Parts of the pod. */}}

{{- define "rotatord.environment" -}}
{{- $probes := include "rotatord.probes" . | fromJson -}}
- {name: ROTATORD_CONFIG, value: /etc/rotatord/rotatord.yaml}
# Below the volume's root, which belongs to root: this one is made by the daemon, for itself alone.
- {name: ROTATORD_STATE_DIR, value: /var/lib/rotatord/state}
{{- if not $probes.given }}
- {name: ROTATORD_PROBES_LISTEN, value: {{ printf "%s:%d" (contains ":" $probes.host | ternary (printf "[%s]" $probes.host) $probes.host) (int $probes.port) | quote }}}
{{- end }}
{{- if .Values.tokens.aws.enabled }}
- {name: AWS_ROLE_ARN, value: {{ .Values.tokens.aws.roleArn | quote }}}
- {name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/secrets/rotatord/aws/token}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rotatord.mounts" -}}
- {name: config, mountPath: /etc/rotatord, readOnly: true}
- {name: state, mountPath: /var/lib/rotatord}
- {name: tmp, mountPath: /tmp}
{{- if include "rotatord.apiToken" . }}
- {name: api-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
{{- if .Values.tokens.vault.enabled }}
- {name: vault-token, mountPath: /var/run/secrets/rotatord/vault, readOnly: true}
{{- end }}
{{- if .Values.tokens.aws.enabled }}
- {name: aws-token, mountPath: /var/run/secrets/rotatord/aws, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rotatord.volumes" -}}
- name: config
  configMap: {name: {{ include "rotatord.fullname" . }}}
- name: state
  {{- if include "rotatord.persistent" . }}
  persistentVolumeClaim: {claimName: {{ include "rotatord.claim" . }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ include "rotatord.sharedJournal" . | empty | ternary .Values.persistence.size "64Mi" }}}
  {{- end }}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if include "rotatord.apiToken" . }}
- name: api-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: {{ int .Values.tokens.api.expirationSeconds }}}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]}
{{- end }}
{{- with .Values.tokens.vault }}
{{- if .enabled }}
- name: vault-token
  projected:
    defaultMode: 0440
    sources: [{serviceAccountToken: {path: token, audience: {{ .audience | quote }}, expirationSeconds: {{ int .expirationSeconds }}}}]
{{- end }}
{{- end }}
{{- with .Values.tokens.aws }}
{{- if .enabled }}
- name: aws-token
  projected:
    defaultMode: 0440
    sources: [{serviceAccountToken: {path: token, audience: {{ .audience | quote }}, expirationSeconds: {{ int .expirationSeconds }}}}]
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rotatord.spread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{- toYaml .Values.topologySpreadConstraints -}}
{{- else -}}
- topologyKey: kubernetes.io/hostname
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "rotatord.selector" . | nindent 6 }}
  matchLabelKeys: [controller-revision-hash]
{{- end -}}
{{- end -}}
