{{/*
What the plugins that the configuration names call in this cluster, as a list of rights {namespace, group, resource, verbs, names}.
The truth is each plugin's own `rights`, which `rotatord rights` prints; tests compare the two.
A plugin with a kubeconfig of its own speaks as somebody else, or to another cluster: nothing is granted for it.
*/}}
{{- define "rotatord.rights" -}}
{{- $config := include "rotatord.config" . | fromJson -}}
{{- $backends := include "rotatord.ofThisCluster" (dict "plugins" $config.backends "type" "kubernetes") | fromJson -}}
{{- $issuers := include "rotatord.ofThisCluster" (dict "plugins" $config.issuers "type" "kubernetes_token") | fromJson -}}
{{- $own := .Release.Namespace -}}
{{- $rights := list -}}
{{- range $credential := $config.credentials -}}
  {{- range $number, $destination := $credential.destinations -}}
    {{- with get $backends ($destination.backend | toString) -}}
      {{- $place := dict "at" $destination "plugin" . "home" (eq $number 0) "default" (.namespace | default $own) "of" (printf "credential %s, a destination" $credential.name) -}}
      {{- $rights = concat $rights (include "rotatord.rightsOfDestination" $place | fromJsonArray) -}}
    {{- end -}}
  {{- end -}}
  {{- range $consumer := $credential.consumers -}}
    {{- range $copy := $consumer.copies -}}
      {{- with get $backends ($copy.backend | toString) -}}
        {{- $place := dict "at" $copy "default" (.namespace | default $own) "of" (printf "credential %s, a copy" $credential.name) -}}
        {{- $rights = concat $rights (include "rotatord.rightsOfCopy" $place | fromJsonArray) -}}
      {{- end -}}
    {{- end -}}
    {{- if and (has $consumer.type (list "deployment" "statefulset" "daemonset")) (not $consumer.kubeconfig) (not $consumer.context) -}}
      {{- $place := dict "at" $consumer "of" (printf "credential %s, a consumer" $credential.name) -}}
      {{- $rights = concat $rights (include "rotatord.rightsOfWorkload" $place | fromJsonArray) -}}
    {{- end -}}
  {{- end -}}
  {{- with get $issuers ($credential.issuer | toString) -}}
    {{- $place := dict "at" ($credential.parameters | default dict) "plugin" . "default" .namespace "of" (printf "credential %s, parameters" $credential.name) -}}
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
{{- $namespace := include "rotatord.text" (merge (dict "keys" (list "namespace")) .) -}}
{{- $name := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "name")) -}}
{{- $names := list $name -}}
{{- if .home -}}
  {{- $form := .plugin.slots | default "{name}-rotatord-{slot}" | replace "{name}" $name -}}
  {{- $names = append $names ($form | replace "{slot}" "pending") -}}
  {{- $names = append $names ($form | replace "{slot}" "previous") -}}
{{- end -}}
{{- list
  (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "get" "patch") "names" $names)
  (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "create") "names" list) | toJson -}}
{{- end -}}

{{- define "rotatord.rightsOfCopy" -}}
{{- $namespace := include "rotatord.text" (merge (dict "keys" (list "namespace")) .) -}}
{{- $name := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "name")) -}}
{{- list (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "get") "names" (list $name)) | toJson -}}
{{- end -}}

{{- define "rotatord.rightsOfWorkload" -}}
{{- $namespace := include "rotatord.text" (merge (dict "keys" (list "namespace")) .) -}}
{{- $name := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "workload" "name")) -}}
{{- $kind := .at.type -}}
{{- $observed := eq (.at.strategy | default "restart") "observe" -}}
{{- $rights := list
  (dict "namespace" $namespace "group" "apps" "resource" (printf "%ss" $kind) "verbs" ($observed | ternary (list "get") (list "get" "patch")) "names" (list $name))
  (dict "namespace" $namespace "group" "" "resource" "pods" "verbs" (list "list") "names" list) -}}
{{- if eq $kind "deployment" -}}
{{- $rights = append $rights (dict "namespace" $namespace "group" "apps" "resource" "replicasets" "verbs" (list "list") "names" list) -}}
{{- else if and (eq $kind "statefulset") (not $observed) -}}
{{- $rights = append $rights (dict "namespace" $namespace "group" "" "resource" "pods" "verbs" (list "delete") "names" list) -}}
{{- end -}}
{{- toJson $rights -}}
{{- end -}}

{{/* Tokens of a ServiceAccount, each bound to a marker: one of a few Secrets whose names are known. Reviews belong to no namespace. */}}
{{- define "rotatord.rightsOfToken" -}}
{{- $namespace := include "rotatord.text" (merge (dict "keys" (list "namespace")) .) -}}
{{- $account := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "service_account")) -}}
{{- $base := include "rotatord.text" (dict "at" .at "of" .of "keys" (list "marker") "default" $account) -}}
{{- $markers := list -}}
{{- range $number := untilStep 1 (int (.plugin.markers | default 4 | add1)) 1 -}}
  {{- $markers = append $markers (printf "%s-rotatord-token-%d" $base $number) -}}
{{- end -}}
{{- list
  (dict "namespace" $namespace "group" "" "resource" "serviceaccounts/token" "verbs" (list "create") "names" (list $account))
  (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "create") "names" list)
  (dict "namespace" $namespace "group" "" "resource" "secrets" "verbs" (list "get" "patch" "delete") "names" $markers)
  (dict "namespace" "" "group" "authentication.k8s.io" "resource" "tokenreviews" "verbs" (list "create") "names" list) | toJson -}}
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
