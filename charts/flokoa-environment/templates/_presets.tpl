{{/*
Sets every value that is an empty string to the preset of its environment. Templates and checks read .Values afterwards, so each template
includes this first: Helm renders templates in no order that it promises.
*/}}
{{- define "flokoa-environment.presets" -}}
{{- range $path, $row := .Files.Get "files/presets.yaml" | fromYaml }}
{{- $keys := splitList "." $path }}
{{- $section := $.Values }}
{{- range initial $keys }}
{{- $section = get $section . }}
{{- end }}
{{- $value := get $section (last $keys) | toString }}
{{- if eq $value "" }}
{{- $_ := set $section (last $keys) (get $row $.Values.environment) }}
{{- else if eq (last $keys) "cpu" }}
{{- $_ := set $section "cpu" $value }}
{{- end }}
{{- end }}
{{- range $section, $role := dict "viewers" "viewers" "editors" "editors" "secretManagers" "secret-managers" "secretUsers" "secret-users" "modelManagers" "model-managers" }}
{{- $access := get $.Values.access $section }}
{{- if kindIs "string" $access.groups }}
{{- $_ := set $access "groups" (list (include "flokoa-environment.group" (dict "root" $ "section" $section "role" $role))) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Default group of a role: flokoa:<environment>:<role> in the namespace flokoa-<environment>, flokoa:<namespace>:<role> in any other. Rejects
namespaces that are named as an environment, because the default group there would be that of the environment's own namespace.
*/}}
{{- define "flokoa-environment.group" -}}
{{- $namespace := include "flokoa-environment.namespace" .root }}
{{- if has $namespace (list "dev" "staging" "production") }}
{{- fail (printf "access.%s.groups must be set, because the default groups of namespace %s are those of namespace flokoa-%s: set it, or choose another namespace.name" .section $namespace $namespace) }}
{{- end }}
{{- printf "flokoa:%s:%s" (eq $namespace (printf "flokoa-%s" .root.Values.environment) | ternary .root.Values.environment $namespace) .role }}
{{- end }}
