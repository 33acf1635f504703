{{/* Checks of values that the schema or the API server could reject, but without a message that names the value to change. */}}

{{- define "flokoa-agent.checks" -}}
{{- if not .Values.spec.runtime.spec.container.image }}
{{- fail "spec.runtime.spec.container.image is empty: set it to the image of your agent with a version tag, for example ghcr.io/example/my-agent:v2.0.0" }}
{{- end }}
{{- $name := include "flokoa-agent.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$" $name) }}
{{- fail (printf "the Agent's name would be %s, but it must have at most 63 lowercase letters, digits, and '-', and start with a letter: set fullnameOverride, or choose another release name" $name) }}
{{- end }}
{{- range $path, $labels := dict "labels" .Values.labels "commonLabels" .Values.commonLabels }}
{{- range $key, $_ := $labels }}
{{- if regexMatch "^(helm\\.sh/chart|app\\.kubernetes\\.io/(name|instance|managed-by|part-of))$" $key }}
{{- fail (printf "%s must not contain %s, because the chart sets it: remove it" $path $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects extraObjects that do not belong in the release; takes a dict of object and namespace. */}}
{{- define "flokoa-agent.checkObject" -}}
{{- $what := printf "extraObjects: %s %s" .object.kind .object.metadata.name }}
{{- /* Helm installs the items of a list, which these checks would not see. Helm goes by the field items, whatever the kind is. */}}
{{- if or (hasSuffix "List" .object.kind) (hasKey .object "items") }}
{{- fail (printf "%s must not be a list: list its items themselves in extraObjects" $what) }}
{{- end }}
{{- if eq .object.kind "Secret" }}
{{- fail (printf "%s must not be in the values, which are stored in plain text: create it in namespace %s by other means" $what .namespace) }}
{{- end }}
{{- if regexMatch "^(Namespace|Node|PersistentVolume|CustomResourceDefinition|APIService|.+Class|Cluster.+|.+WebhookConfiguration|.+AdmissionPolicy|.+AdmissionPolicyBinding)$" .object.kind }}
{{- fail (printf "%s is cluster-scoped, but the release is in namespace %s: apply it separately" $what .namespace) }}
{{- end }}
{{- if ne (default .namespace .object.metadata.namespace) .namespace }}
{{- fail (printf "%s has metadata.namespace %s, but the release is in namespace %s: remove metadata.namespace" $what .object.metadata.namespace .namespace) }}
{{- end }}
{{- end }}
