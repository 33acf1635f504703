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

{{/* Rejects subjects that mean everyone; takes a dict of path, groups, users and serviceAccounts. */}}
{{- define "flokoa-environment.checkSubjects" -}}
{{- range .groups }}
{{- if has . (list "system:authenticated" "system:unauthenticated" "system:serviceaccounts" "system:masters") }}
{{- fail (printf "%s.groups must not contain %s, a built-in group for everyone or for cluster admins: use groups of your identity provider" $.path .) }}
{{- end }}
{{- end }}
{{- range .users }}
{{- if eq . "system:anonymous" }}{{ fail (printf "%s.users must not contain %s, because it means every unauthenticated client: remove it" $.path .) }}{{ end }}
{{- if hasPrefix "system:serviceaccount:" . }}{{ fail (printf "%s.users must not contain the ServiceAccount %s: list it in %s.serviceAccounts as {namespace: ..., name: ...}" $.path . $.path) }}{{ end }}
{{- end }}
{{- include "flokoa-environment.checkServiceAccounts" (dict "path" (printf "%s.serviceAccounts" .path) "accounts" .serviceAccounts) }}
{{- end }}

{{/*
Rejects ServiceAccounts named default, as which every pod runs that names no other. kustomize would also move such a subject to its own
namespace. Takes a dict of path and accounts.
*/}}
{{- define "flokoa-environment.checkServiceAccounts" -}}
{{- range .accounts }}
{{- if eq .name "default" }}
{{- fail (printf "%s must not contain the ServiceAccount default of namespace %s, because every pod there that names no ServiceAccount runs as it: use a dedicated ServiceAccount" $.path .namespace) }}
{{- end }}
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
