{{/*
A quantity of CPU in thousandths, or of memory in MiB; the schema lets in no other forms. What Kubernetes would write in another
way is refused, or whoever compares what is here with what the server holds sees a difference for ever. A dict of path and value.
*/}}
{{- define "flokoa-environment.amount" -}}
{{- if hasSuffix "m" .value }}{{ trimSuffix "m" .value }}
{{- else if hasSuffix "Gi" .value }}{{ mul (trimSuffix "Gi" .value) 1024 }}
{{- else if hasSuffix "Mi" .value }}
{{- $mebibytes := trimSuffix "Mi" .value }}
{{- if eq (mod $mebibytes 1024) 0 }}{{ fail (printf "%s is %s: write %dGi" .path .value (div $mebibytes 1024)) }}{{ end }}
{{- $mebibytes }}
{{- else }}{{ mul .value 1000 }}
{{- end }}
{{- end }}

{{/* The other way: an amount of cpu or memory as a quantity. A dict of resource and amount. */}}
{{- define "flokoa-environment.quantity" -}}
{{- $cpu := eq .resource "cpu" }}
{{- $whole := ternary 1000 1024 $cpu }}
{{- if mod .amount $whole }}{{ .amount }}{{ ternary "m" "Mi" $cpu }}
{{- else }}{{ div .amount $whole }}{{ ternary "" "Gi" $cpu }}
{{- end }}
{{- end }}

{{/*
A quota that cannot hold a rolling update of everything it allows would stop it for good, because a rollout never goes below the
wanted count: a new pod comes first, and those on their way out still count. So an Agent of R replicas takes up to 2 R pods.
*/}}
{{- define "flokoa-environment.checkQuota" -}}
{{- $quota := .Values.quota }}
{{- $agents := int64 $quota.agents }}
{{- $replicas := include "flokoa-environment.leastReplicas" . | int64 }}
{{- $peak := mul 2 $agents $replicas }}
{{- $why := printf "a rolling update of %d Agents (quota.agents) of %d replicas (the least in %s) takes up to 2 x %d x %d = %d pods" $agents $replicas .Values.environment $agents $replicas $peak }}
{{- if lt (int64 $quota.pods) $peak }}
{{- fail (printf "quota.pods is %d, but %s. Raise quota.pods to %d or more, or lower quota.agents" (int64 $quota.pods) $why $peak) }}
{{- end }}
{{- range $what, $default := dict "requests" "defaultRequest" "limits" "default" }}
{{- range $resource := list "cpu" "memory" }}
{{- $path := printf "quota.%s.%s" $what $resource }}
{{- $have := get (get $quota $what) $resource }}
{{- $eachPath := printf "limits.%s.%s" $default $resource }}
{{- $each := get (get $.Values.limits $default) $resource }}
{{- $need := mul $peak (include "flokoa-environment.amount" (dict "path" $eachPath "value" $each)) }}
{{- if lt (include "flokoa-environment.amount" (dict "path" $path "value" $have) | int64) $need }}
{{- $enough := include "flokoa-environment.quantity" (dict "resource" $resource "amount" $need) }}
{{- fail (printf "%s is %s, but %s, and %d x %s (%s) = %s. Raise %s to %s or more, or lower quota.agents or %s" $path $have $why $peak $each $eachPath $enough $path $enough $eachPath) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A limit below what a container gets by itself would refuse every container that says nothing. */}}
{{- define "flokoa-environment.checkLimits" -}}
{{- range $resource := list "cpu" "memory" }}
{{- range $pair := list (list "defaultRequest" "default") (list "default" "max") }}
{{- $low := dict "path" (printf "limits.%s.%s" (first $pair) $resource) "value" (get (get $.Values.limits (first $pair)) $resource) }}
{{- $high := dict "path" (printf "limits.%s.%s" (last $pair) $resource) "value" (get (get $.Values.limits (last $pair)) $resource) }}
{{- if gt (include "flokoa-environment.amount" $low | int64) (include "flokoa-environment.amount" $high | int64) }}
{{- fail (printf "%s is %s, more than %s, which is %s. Lower the first or raise the second" $low.path $low.value $high.path $high.value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
