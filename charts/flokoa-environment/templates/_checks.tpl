{{/* What values may not say, and the schema could refuse but not explain. */}}

{{/* Labels and annotations that the chart sets itself: a dict of path, map and own, a pattern. */}}
{{- define "flokoa-environment.checkKeys" -}}
{{- range $key, $_ := .map }}
{{- if regexMatch $.own $key }}{{ fail (printf "%s has %s, which is the chart's own: take it out" $.path $key) }}{{ end }}
{{- end }}
{{- end }}

{{- define "flokoa-environment.ownLabels" -}}
^(flokoa\.ai/|pod-security\.kubernetes\.io/|app\.kubernetes\.io/(name|version|managed-by|part-of)$|helm\.sh/chart$)
{{- end }}

{{/* The namespace: not one that Kubernetes fills, nor the one that the release is in. */}}
{{- define "flokoa-environment.checkNamespace" -}}
{{- $name := include "flokoa-environment.namespace" . }}
{{- if regexMatch "^(kube-.*|default)$" $name }}
{{- fail (printf "namespace.name is %s, which is Kubernetes' own: leave it empty for flokoa-%s, or give another" $name .Values.environment) }}
{{- end }}
{{- /*
Helm keeps what was installed in Secrets of the release's namespace. In the environment's own they would be in the hands of those
who manage Secrets there, and count against its quota.
*/}}
{{- if eq .Release.Namespace $name }}
{{- fail (printf "the release must not be in the environment's own namespace %s: install it with --namespace flokoa-system" $name) }}
{{- end }}
{{- end }}

{{/* Whom a role may be bound to: a dict of path, and of groups, users and serviceAccounts. */}}
{{- define "flokoa-environment.checkSubjects" -}}
{{- range .groups }}
{{- if has . (list "system:authenticated" "system:unauthenticated" "system:serviceaccounts" "system:masters") }}
{{- fail (printf "%s.groups has %s, in which is everybody, or who may do everything: give groups of your identity provider" $.path .) }}
{{- end }}
{{- end }}
{{- range .users }}
{{- if eq . "system:anonymous" }}{{ fail (printf "%s.users has %s, who is anybody: take it out" $.path .) }}{{ end }}
{{- if hasPrefix "system:serviceaccount:" . }}{{ fail (printf "%s.users has %s: put it under %s.serviceAccounts, as {namespace: ..., name: ...}" $.path . $.path) }}{{ end }}
{{- end }}
{{- include "flokoa-environment.checkServiceAccounts" (dict "path" (printf "%s.serviceAccounts" .path) "accounts" .serviceAccounts) }}
{{- end }}

{{/* kustomize, too, takes an account called default for the one of its own namespace. A dict of path and accounts. */}}
{{- define "flokoa-environment.checkServiceAccounts" -}}
{{- range .accounts }}
{{- if eq .name "default" }}
{{- fail (printf "%s has the account default of the namespace %s, as which every pod there runs that asks for no other: give an account of its own" $.path .namespace) }}
{{- end }}
{{- end }}
{{- end }}

{{/* An object of extraObjects: a dict of object and namespace. */}}
{{- define "flokoa-environment.checkObject" -}}
{{- $what := printf "extraObjects: %s %s" .object.kind .object.metadata.name }}
{{- if eq .object.kind "Secret" }}
{{- fail (printf "%s would be in the values, which are kept where they can be read: make it in the namespace %s by other means" $what .namespace) }}
{{- end }}
{{- if regexMatch "^(Namespace|Node|PersistentVolume|CustomResourceDefinition|APIService|(Priority|Runtime|Storage|Ingress|Gateway)Class|Cluster.+|.+WebhookConfiguration|.+AdmissionPolicy|.+AdmissionPolicyBinding)$" .object.kind }}
{{- fail (printf "%s is outside of namespaces, and would belong to no environment: apply it with the platform" $what) }}
{{- end }}
{{- if ne (default .namespace .object.metadata.namespace) .namespace }}
{{- fail (printf "%s is for the namespace %s, but this environment is %s: leave metadata.namespace out" $what .object.metadata.namespace .namespace) }}
{{- end }}
{{- end }}
