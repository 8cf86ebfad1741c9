{{/*
What the plugins that the configuration names call in this cluster, as a list of rights {namespace, group, resource, verbs, names}.
The truth is each plugin's own `rights`, which `rotatord rights` prints; tests compare the two.
A plugin with a kubeconfig of its own speaks as somebody else, or to another cluster: nothing is granted for it.
*/}}
{{- define "rotatord.rights" -}}
{{- $config := include "rotatord.config" . | fromJson -}}
{{- $backends := include "rotatord.ofThisCluster" (dict "plugins" $config.backends "type" "kubernetes") | fromJson -}}
{{- $issuers := include "rotatord.ofThisCluster" (dict "plugins" $config.issuers "type" "kubernetes_token") | fromJson -}}
{{- $rights := list -}}
{{- range $credential := $config.credentials -}}
  {{- range $number, $destination := $credential.destinations -}}
    {{- if hasKey $backends ($destination.backend | toString) -}}
      {{- $place := dict "at" $destination "of" (printf "credential %s, a destination" $credential.name) "home" (eq $number 0) -}}
      {{- $rights = concat $rights (include "rotatord.rightsOfDestination" $place | fromJsonArray) -}}
    {{- end -}}
  {{- end -}}
  {{- range $consumer := $credential.consumers -}}
    {{- range $copy := $consumer.copies -}}
      {{- if hasKey $backends ($copy.backend | toString) -}}
        {{- $place := dict "at" $copy "of" (printf "credential %s, a copy" $credential.name) -}}
        {{- $rights = concat $rights (include "rotatord.rightsOfCopy" $place | fromJsonArray) -}}
      {{- end -}}
    {{- end -}}
    {{- if and (has $consumer.type (list "deployment" "statefulset" "daemonset")) (not $consumer.kubeconfig) -}}
      {{- $place := dict "at" $consumer "of" (printf "credential %s, a consumer" $credential.name) -}}
      {{- $rights = concat $rights (include "rotatord.rightsOfWorkload" $place | fromJsonArray) -}}
    {{- end -}}
  {{- end -}}
  {{- if hasKey $issuers ($credential.issuer | toString) -}}
    {{- $place := dict "at" ($credential.parameters | default dict) "of" (printf "credential %s, parameters" $credential.name) -}}
    {{- $rights = concat $rights (include "rotatord.rightsOfToken" $place | fromJsonArray) -}}
  {{- end -}}
{{- end -}}
{{- toJson $rights -}}
{{- end -}}

{{/* The named plugins of a type that use this pod's own token. */}}
{{- define "rotatord.ofThisCluster" -}}
{{- $found := dict -}}
{{- $type := .type -}}
{{- range $name, $plugin := (.plugins | default dict) -}}
  {{- if and (eq (dig "type" "" (default dict $plugin)) $type) (not (dig "kubeconfig" "" $plugin)) -}}
    {{- $_ := set $found $name $plugin -}}
  {{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Text at a key of a place, or an end: a name that YAML took for a number would grant something else. */}}
{{- define "rotatord.text" -}}
{{- $value := get .at .key -}}
{{- if not (kindIs "string" $value) -}}
{{- fail (printf "config: %s: %s should be text, in quotes where YAML could take it for a number" .of .key) -}}
{{- end -}}
{{- $value -}}
{{- end -}}

{{- define "rotatord.rightsOfDestination" -}}
{{- $namespace := include "rotatord.text" (merge (dict "key" "namespace") .) -}}
{{- $name := include "rotatord.text" (merge (dict "key" "name") .) -}}
{{- $names := list $name -}}
{{- if .home -}}{{- $names = concat $names (include "rotatord.slotsOf" $name | fromJsonArray) -}}{{- end -}}
{{- list
  (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "get" "patch") "names" $names)
  (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "create") "names" list) | toJson -}}
{{- end -}}

{{/* The Secrets that hold the pending and the previous slot of a home. */}}
{{- define "rotatord.slotsOf" -}}
{{- list (printf "%s-pending" .) (printf "%s-previous" .) | toJson -}}
{{- end -}}

{{- define "rotatord.rightsOfCopy" -}}
{{- $namespace := include "rotatord.text" (merge (dict "key" "namespace") .) -}}
{{- $name := include "rotatord.text" (merge (dict "key" "name") .) -}}
{{- list (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "get") "names" (list $name)) | toJson -}}
{{- end -}}

{{- define "rotatord.rightsOfWorkload" -}}
{{- $namespace := include "rotatord.text" (merge (dict "key" "namespace") .) -}}
{{- $name := include "rotatord.text" (merge (dict "key" "name") .) -}}
{{- $kind := .at.type -}}
{{- $rights := list
  (dict "namespace" $namespace "group" "apps" "resource" (printf "%ss" $kind) "verbs" (list "get" "patch") "names" (list $name))
  (dict "namespace" $namespace "group" "" "resource" "pods" "verbs" (list "list") "names" list) -}}
{{- if eq $kind "deployment" -}}
{{- $rights = append $rights (dict "namespace" $namespace "group" "apps" "resource" "replicasets" "verbs" (list "list") "names" list) -}}
{{- else if eq $kind "statefulset" -}}
{{- $rights = append $rights (dict "namespace" $namespace "group" "" "resource" "pods" "verbs" (list "delete") "names" list) -}}
{{- end -}}
{{- toJson $rights -}}
{{- end -}}

{{- define "rotatord.rightsOfToken" -}}
{{- $namespace := include "rotatord.text" (merge (dict "key" "namespace") .) -}}
{{- $account := include "rotatord.text" (merge (dict "key" "service_account") .) -}}
{{- list
  (dict "namespace" $namespace "group" "" "resource" "serviceaccounts/token" "verbs" (list "create") "names" (list $account))
  (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "create") "names" list) | toJson -}}
{{- end -}}

{{/* Those rights as the rules of one Role per namespace: rights that differ in nothing but names are one rule. */}}
{{- define "rotatord.rulesByNamespace" -}}
{{- $spaces := dict -}}
{{- range include "rotatord.rights" . | fromJsonArray -}}
  {{- $space := get $spaces .namespace | default dict -}}
  {{- $key := printf "%s/%s/%s/%t" .group .resource (join "," .verbs) (not (empty .names)) -}}
  {{- $rule := get $space $key | default (dict "apiGroups" (list .group) "resources" (list .resource) "verbs" .verbs) -}}
  {{- if .names -}}
    {{- $_ := set $rule "resourceNames" (concat (get $rule "resourceNames" | default list) .names | uniq | sortAlpha) -}}
  {{- end -}}
  {{- $_ := set $space $key $rule -}}
  {{- $_ := set $spaces .namespace $space -}}
{{- end -}}
{{- $rules := dict -}}
{{- range $namespace, $space := $spaces -}}
  {{- $ordered := list -}}
  {{- range $key, $rule := $space -}}{{- $ordered = append $ordered $rule -}}{{- end -}}
  {{- $_ := set $rules $namespace $ordered -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}
