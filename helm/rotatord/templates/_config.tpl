{{/* What the chart reads in the daemon's own configuration. The daemon checks it; here only its shape is looked at. */}}

{{/* The configuration as JSON, given as a mapping or as text. */}}
{{- define "rotatord.config" -}}
{{- if kindIs "string" .Values.config -}}
{{- $read := fromYaml .Values.config -}}
{{- if and (hasKey $read "Error") (eq (len $read) 1) -}}
{{- if contains "unmarshal" $read.Error -}}{{- fail "config is text that is no mapping of sections: give the file's content (--set-file config=rotatord.yaml), not its name" -}}{{- end -}}{{/* the error would quote it */}}
{{- fail (printf "config is not YAML: %s" $read.Error) -}}
{{- end -}}
{{- toJson $read -}}
{{- else -}}
{{- toJson (.Values.config | default dict) -}}
{{- end -}}
{{- end -}}

{{/* The file that the daemon reads: text letter for letter. */}}
{{- define "rotatord.file" -}}
{{- if kindIs "string" .Values.config -}}
{{- .Values.config -}}
{{- else -}}
{{- toYaml (.Values.config | default dict) -}}
{{- end -}}
{{- end -}}

{{/* The part that the daemon reads at its start only; everything else it takes up by itself. */}}
{{- define "rotatord.readAtStart" -}}
{{- $config := include "rotatord.config" . | fromJson -}}
{{- $limits := $config.limits | default dict -}}
{{- dict "api" $config.api "log" $config.log "threads" $limits.threads "database" $config.database "key" $config.fingerprint_key | toJson | sha256sum -}}
{{- end -}}

{{/* "yes" where the journal lies in a database, and replicas share it. */}}
{{- define "rotatord.sharedJournal" -}}
{{- $database := (include "rotatord.config" . | fromJson).database | default dict -}}
{{- if or $database.url (include "rotatord.hasVariable" (dict "values" .Values "name" "ROTATORD_DATABASE_URL")) -}}yes{{- end -}}
{{- end -}}

{{/* "yes" where a variable is among the further ones. {values, name}. */}}
{{- define "rotatord.hasVariable" -}}
{{- range .values.extraEnv -}}{{- if eq .name $.name -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{/* "yes" where the state lies on a claim of ours or a given one. */}}
{{- define "rotatord.persistent" -}}
{{- if and .Values.persistence.enabled (not (include "rotatord.sharedJournal" .)) -}}yes{{- end -}}
{{- end -}}

{{/* Where health and metrics are served: {host, port, given}. */}}
{{- define "rotatord.probes" -}}
{{- $api := (include "rotatord.config" . | fromJson).api | default dict -}}
{{- if $api.probes -}}
{{- dict "host" ($api.probes.host | default "127.0.0.1") "port" ($api.probes.port | int) "given" true | toJson -}}
{{- else -}}
{{- dict "host" .Values.probes.host "port" (.Values.probes.port | int) "given" false | toJson -}}
{{- end -}}
{{- end -}}

{{/* The port of the API, where it listens beyond loopback; else nothing. */}}
{{- define "rotatord.apiPort" -}}
{{- $api := (include "rotatord.config" . | fromJson).api | default dict -}}
{{- with $api.listen -}}
{{- if not (has (.host | default "127.0.0.1") (list "127.0.0.1" "::1" "localhost")) -}}{{ .port | int }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* "yes" where the configuration reads the token that every pod used to have: by name, or as Vault's login does unless told otherwise. */}}
{{- define "rotatord.readsToken" -}}
{{- $config := include "rotatord.config" . | fromJson -}}
{{- if contains "/var/run/secrets/kubernetes.io/serviceaccount" (toJson $config) -}}yes{{- end -}}
{{- range $section := list "issuers" "backends" -}}
{{- range $name, $plugin := (get $config $section | default dict) -}}
{{- $login := dig "auth" "kubernetes" nil (kindIs "map" $plugin | ternary $plugin dict) -}}
{{- if and (kindIs "map" $login) (not $login.token_file) -}}yes{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Where a secret itself stands in place of a reference: it would lie in a ConfigMap, for everybody to read, before the daemon could
refuse it. The shapes and names are those of the daemon's own check. What is found is never shown.
*/}}
{{- define "rotatord.literals" -}}
{{- $json := include "rotatord.config" . | replace "\\u003c" "<" | replace "\\u003e" ">" | replace "\\u0026" "&" -}}
{{- $shaped := `"(hv[sbr]\.[\w-]{20,}|s\.[A-Za-z0-9]{24}"|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|(AKIA|ASIA)[0-9A-Z]{16}"|xox[baprs]-[\w-]{10,}|sk_live_\w{10,}|npm_\w{20,}|whsec_[\w+/=]{16,}|eyJ[\w-]{10,}\.eyJ|-----BEGIN [A-Z ]*PRIVATE KEY|[a-z][a-z0-9+.-]*://[^/\s:@"]*:[^/\s@"]+@)` -}}
{{- if regexMatch $shaped $json -}}yes{{- end -}}
{{- $anywhere := `(^|[^\w.-])(hv[sbr]\.[\w-]{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|(AKIA|ASIA)[0-9A-Z]{16}([^\w]|$)|xox[baprs]-[\w-]{10,}|sk_live_\w{10,}|whsec_[\w+/=]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY)` -}}
{{- if and (kindIs "string" .Values.config) (regexMatch $anywhere .Values.config) -}}yes{{- end -}}{{/* in a comment, too */}}
{{- range regexFindAll `"([^"]*_)?(?i:token|password|passwd|secret|secret_id|api_?key|private_key|secret_key|access_key)":"[^"\s/{\\]{16,}"` $json -1 -}}
{{- $value := regexReplaceAll `^"[^"]*":` . "" -}}
{{- if and (regexMatch "[0-9]" $value) (regexMatch "[A-Za-z]" $value) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* "yes" where the token of this cluster's API is mounted. */}}
{{- define "rotatord.apiToken" -}}
{{- if eq .Values.tokens.api.mount "always" -}}yes
{{- else if eq .Values.tokens.api.mount "auto" -}}
{{- $needs := include "rotatord.rights" . | fromJsonArray -}}
{{- if or $needs (include "rotatord.readsToken" .) -}}yes{{- end -}}
{{- end -}}
{{- end -}}
