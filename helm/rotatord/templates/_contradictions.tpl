{{/* What each value alone may say and together they may not: every contradiction at once, each a sentence. */}}
{{- define "rotatord.contradictions" -}}
{{- $found := list -}}
{{- $config := include "rotatord.config" . | fromJson -}}
{{- $probes := include "rotatord.probes" . | fromJson -}}
{{- $rights := include "rotatord.rights" . | fromJsonArray -}}

{{- $shared := include "rotatord.sharedJournal" . -}}
{{- if and (gt (int .Values.replicaCount) 1) (not $shared) -}}
{{- $found = append $found (printf "replicaCount is %d: several replicas need a journal that they share; give config.database.url (PostgreSQL), or set replicaCount to 1 and its journal lies on the volume" (int .Values.replicaCount)) -}}
{{- end -}}
{{- if $shared -}}
  {{- if not (or $config.fingerprint_key (include "rotatord.hasVariable" (dict "values" .Values "name" "ROTATORD_FINGERPRINT_KEY"))) -}}
  {{- $found = append $found "config.database.url is given and config.fingerprint_key is not: each pod would make a key of its own, and lose it with its end; give {file: path} of a Secret that is mounted" -}}
  {{- end -}}
  {{- if .Values.persistence.existingClaim -}}
  {{- $found = append $found "persistence.existingClaim is given and the journal lies in a database (config.database.url): no claim is used then; take one out" -}}
  {{- end -}}
  {{- range $name, $issuer := ($config.issuers | default dict) -}}
    {{- if eq (dig "type" "" (kindIs "map" $issuer | ternary $issuer dict)) "builtin" -}}
    {{- $found = append $found (printf "issuer %s is built in and the journal lies in a database: there is no volume then, and every token that it made would stop working with its pod" $name) -}}
    {{- end -}}
  {{- end -}}
  {{- range $name, $backend := ($config.backends | default dict) -}}
    {{- if and (eq (dig "type" "" (kindIs "map" $backend | ternary $backend dict)) "file") (not (dig "slots" "" $backend)) -}}
    {{- $found = append $found (printf "backend %s keeps its slots in files of each pod and the journal lies in a database: give slots, a path on a volume that all pods mount" $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if include "rotatord.literals" . -}}
{{- $found = append $found "config: a secret itself stands somewhere in it, and it would be stored in a ConfigMap for everybody to read: write a reference such as {file: path}; `rotatord validate` names the line" -}}
{{- end -}}
{{- if hasKey $config "state_dir" -}}
{{- $found = append $found "config.state_dir: the chart mounts the volume and says where; take this key out" -}}
{{- end -}}
{{- if $probes.given -}}
  {{- if has $probes.host (list "127.0.0.1" "::1" "localhost") -}}
  {{- $found = append $found (printf "config.api.probes.host is %s: the kubelet cannot reach it there; use 0.0.0.0, or take config.api.probes out" $probes.host) -}}
  {{- end -}}
  {{- if lt (int $probes.port) 1 -}}
  {{- $found = append $found "config.api.probes.port is 0, which takes any free port: probes need to know it; use 8080" -}}
  {{- end -}}
{{- end -}}
{{- $ports := list (int $probes.port) -}}
{{- with include "rotatord.apiPort" . -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- range .Values.service.extraPorts -}}{{- $ports = append $ports (int .port) -}}{{- end -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- $found = append $found "two of probes.port, config.api.listen.port and service.extraPorts are the same port" -}}
{{- end -}}

{{- if eq .Values.image.tag "latest" -}}
{{- $found = append $found "image.tag is latest: nobody could say what runs, or go back to it; name a version" -}}
{{- end -}}
{{- if and .Values.image.tag .Values.image.digest -}}
{{- $found = append $found "image.tag and image.digest are both given: the digest beats the tag, so the tag would only mislead; take one out" -}}
{{- end -}}
{{- if not (or .Values.persistence.enabled $shared) -}}
  {{- if .Values.persistence.existingClaim -}}
  {{- $found = append $found "persistence.existingClaim is given and persistence.enabled is false: which one is meant?" -}}
  {{- end -}}
  {{- range $name, $issuer := ($config.issuers | default dict) -}}
    {{- if eq (dig "type" "" (kindIs "map" $issuer | ternary $issuer dict)) "builtin" -}}
    {{- $found = append $found (printf "persistence.enabled is false and issuer %s is built in: every token that it made would stop working with each restart; give it a volume" $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}

{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- $found = append $found "serviceAccount.create is false and serviceAccount.name is empty: name the one to use; the namespace's default one is not for this" -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) .Values.serviceAccount.annotations -}}
{{- $found = append $found "serviceAccount.annotations are given and serviceAccount.create is false: the chart does not touch an account that is not its own" -}}
{{- end -}}
{{- if eq .Values.tokens.api.mount "never" -}}
  {{- if $rights -}}
  {{- $found = append $found "tokens.api.mount is never, but config names backends, issuers or consumers of this cluster: they would be refused; set it to auto" -}}
  {{- end -}}
  {{- if include "rotatord.readsToken" . -}}
  {{- $found = append $found "tokens.api.mount is never, but config reads that token, or logs in to Vault with it: set tokens.vault.enabled, and auth.kubernetes.token_file to /var/run/secrets/rotatord/vault/token" -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.tokens.aws.enabled (not .Values.tokens.aws.roleArn) -}}
{{- $found = append $found "tokens.aws.enabled needs tokens.aws.roleArn: a token alone says who asks, not as what" -}}
{{- end -}}

{{- range $name, $port := dict "metrics" 0 "api" 0 -}}
  {{- range $.Values.service.extraPorts -}}
    {{- if eq .name $name -}}{{- $found = append $found (printf "service.extraPorts: the name %s is the chart's own; use another" $name) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- with .Values.networkPolicy -}}
  {{- if not .enabled -}}
    {{- if or .egress.restricted .ingress.metricsFrom .ingress.apiFrom .ingress.extraFrom -}}
    {{- $found = append $found "networkPolicy.enabled is false, but ingress or egress below it is given: nothing would enforce it" -}}
    {{- end -}}
  {{- else if and .egress.extra (not .egress.restricted) -}}
    {{- $found = append $found "networkPolicy.egress.extra is given, but networkPolicy.egress.restricted is false: everything may leave anyway" -}}
  {{- end -}}
{{- end -}}

{{- $own := list "ROTATORD_CONFIG" "ROTATORD_STATE_DIR" "ROTATORD_PROBES_LISTEN" -}}
{{- range .Values.extraEnv -}}
  {{- if has .name $own -}}{{- $found = append $found (printf "extraEnv: %s is the chart's own" .name) -}}{{- end -}}
{{- end -}}
{{- range .Values.extraVolumes -}}
  {{- if has .name (list "config" "state" "tmp" "api-token" "vault-token" "aws-token") -}}{{- $found = append $found (printf "extraVolumes: the name %s is the chart's own; use another" .name) -}}{{- end -}}
{{- end -}}

{{- if $found -}}
{{- fail (printf "these values contradict each other:\n%s" (join "\n" $found)) -}}
{{- end -}}
{{- end -}}
