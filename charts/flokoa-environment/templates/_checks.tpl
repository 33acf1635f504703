{{/* Checks of values that the schema could reject, but without a message that says what to do. */}}

{{/* Rejects labels and annotations that the chart sets; takes a dict of path, map and own (a regular expression). */}}
{{- define "flokoa-environment.checkKeys" -}}
{{- range $key, $_ := .map }}
{{- if regexMatch $.own $key }}{{ fail (printf "%s must not contain %s, because the chart sets it: remove it" $.path $key) }}{{ end }}
{{- end }}
{{- end }}

{{- define "flokoa-environment.ownLabels" -}}
^(flokoa\.ai/|pod-security\.kubernetes\.io/|app\.kubernetes\.io/(name|version|managed-by|part-of)$|helm\.sh/chart$)
{{- end }}

{{/* Rejects Kubernetes' own namespaces and the namespace of the release. */}}
{{- define "flokoa-environment.checkNamespace" -}}
{{- $name := include "flokoa-environment.namespace" . }}
{{- if regexMatch "^(kube-.*|default)$" $name }}
{{- fail (printf "namespace.name must not be %s, because Kubernetes uses that namespace: leave it empty to use flokoa-%s, or choose another name" $name .Values.environment) }}
{{- end }}
{{- /*
Helm stores releases in Secrets of the release namespace. In the environment itself, secret-managers could read and change them, and
they would count against the quota.
*/}}
{{- if eq .Release.Namespace $name }}
{{- if eq $name "flokoa-system" }}
{{- fail (printf "namespace.name must not be %s, which is the release namespace: choose another namespace.name" $name) }}
{{- end }}
{{- fail (printf "the release namespace must not be %s, which is the namespace of the environment: install with --namespace flokoa-system" $name) }}
{{- end }}
{{- end }}

{{/* Rejects extraObjects that do not belong in the environment; takes a dict of object and namespace. */}}
{{- define "flokoa-environment.checkObject" -}}
{{- $what := printf "extraObjects: %s %s" .object.kind .object.metadata.name }}
{{- if eq .object.kind "Secret" }}
{{- fail (printf "%s must not be in the values, which are stored in plain text: create it in namespace %s by other means" $what .namespace) }}
{{- end }}
{{- if regexMatch "^(Namespace|Node|PersistentVolume|CustomResourceDefinition|APIService|(Priority|Runtime|Storage|Ingress|Gateway)Class|Cluster.+|.+WebhookConfiguration|.+AdmissionPolicy|.+AdmissionPolicyBinding)$" .object.kind }}
{{- fail (printf "%s is cluster-scoped and belongs to no environment: apply it separately" $what) }}
{{- end }}
{{- if ne (default .namespace .object.metadata.namespace) .namespace }}
{{- fail (printf "%s has metadata.namespace %s, but the environment is namespace %s: remove metadata.namespace" $what .object.metadata.namespace .namespace) }}
{{- end }}
{{- end }}

{{/* Rejects callers that are everyone by mistake. */}}
{{- define "flokoa-environment.checkGateways" -}}
{{- range $i, $caller := .Values.network.gateways }}
{{- if and $caller.cidr (or $caller.namespace $caller.podLabels) }}
{{- fail (printf "network.gateways[%d] must have either cidr, or namespace and podLabels: make two entries" $i) }}
{{- end }}
{{- if and (has $caller.cidr (list "0.0.0.0/0" "::/0")) (not $caller.except) }}
{{- fail (printf "network.gateways[%d].cidr is %s, which includes the pods of every namespace: list the pod and node ranges of the cluster in except" $i $caller.cidr) }}
{{- end }}
{{- end }}
{{- end }}
