{{/* Checks of what the quota counts; _arithmetic.tpl checks how much. */}}

{{/* Rejects extended resources that the quota would not count, and sizes that are not canonical. */}}
{{- define "flokoa-environment.checkExtendedResources" -}}
{{- range $name, $amount := .Values.quota.extendedResources }}
{{- if hasPrefix "requests." $name }}
{{- fail (printf "quota.extendedResources must not contain %s: write %s, as in the resources of a container" $name (trimPrefix "requests." $name)) }}
{{- end }}
{{- if not (or (contains "/" $name) (hasPrefix "hugepages-" $name)) }}
{{- fail (printf "quota.extendedResources must not contain %s, because the name of an extended resource has a domain: write it as in the resources of a container, for example nvidia.com/gpu" $name) }}
{{- end }}
{{- if kindIs "string" $amount }}
{{- $_ := include "flokoa-environment.amount" (dict "path" (printf "quota.extendedResources.%s" $name) "value" $amount) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects the system priority classes. Kubernetes reserves the prefix. */}}
{{- define "flokoa-environment.checkPriorityClasses" -}}
{{- range .Values.priorityClasses }}
{{- if hasPrefix "system-" . }}
{{- fail (printf "priorityClasses must not contain %s, because such pods preempt pods of every namespace: remove it" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects entries that another value sets, also under another name of the same resource; takes a dict of extra and hard. */}}
{{- define "flokoa-environment.checkExtraQuota" -}}
{{- range $name, $amount := .extra }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9_./]*[a-z0-9])?$" $name) }}
{{- fail (printf "quota.extra must not contain %q, which is no resource: write it as in a ResourceQuota, for example count/jobs.batch" $name) }}
{{- end }}
{{- range list $name (trimPrefix "count/" $name) (printf "requests.%s" $name) }}
{{- if hasKey $.hard . }}
{{- fail (printf "quota.extra must not contain %s, because other values of quota set %s: remove it" $name .) }}
{{- end }}
{{- end }}
{{- if kindIs "string" $amount }}
{{- $_ := include "flokoa-environment.amount" (dict "path" (printf "quota.extra.%s" $name) "value" $amount) }}
{{- end }}
{{- end }}
{{- end }}
