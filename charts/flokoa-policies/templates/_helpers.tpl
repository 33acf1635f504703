{{/*
Metadata of an object: a dict of root and name. The keep policy is merged last, so that no value can take it away. Flux and Argo CD
are told the same; there a value may say otherwise.
*/}}
{{- define "flokoa-policies.metadata" -}}
name: {{ .name }}
labels:
  {{- $labels := dict
        "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
        "app.kubernetes.io/name" .root.Chart.Name
        "app.kubernetes.io/instance" .root.Chart.Name
        "app.kubernetes.io/version" .root.Chart.AppVersion
        "app.kubernetes.io/managed-by" .root.Release.Service
        "app.kubernetes.io/part-of" "flokoa" }}
  {{- mergeOverwrite (deepCopy .root.Values.labels) $labels | toYaml | nindent 2 }}
annotations:
  {{- $keep := dict
        "kustomize.toolkit.fluxcd.io/prune" "disabled"
        "argocd.argoproj.io/sync-options" "Prune=false,Delete=false" }}
  {{- mergeOverwrite $keep (deepCopy .root.Values.annotations) (dict "helm.sh/resource-policy" "keep") | toYaml | nindent 2 }}
{{- end }}

{{/* The bindings of a policy, one for each environment: a dict of root, name and actions. */}}
{{- define "flokoa-policies.bindings" -}}
{{- range $environment := list "dev" "staging" "production" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "flokoa-policies.metadata" (dict "root" $.root "name" (printf "%s-%s" $.name $environment)) | nindent 2 }}
spec:
  policyName: {{ $.name }}
  validationActions: [{{ get $.actions $environment }}]
  matchResources:
    namespaceSelector:
      matchLabels:
        flokoa.ai/environment: {{ $environment }}
{{- end }}
{{- end }}

{{/* The binding of a policy that holds everywhere: a dict of root, name and action. */}}
{{- define "flokoa-policies.binding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "flokoa-policies.metadata" . | nindent 2 }}
spec:
  policyName: {{ .name }}
  validationActions: [{{ .action }}]
{{- end }}

{{/* Agents that are made or changed; not their status, nor their scale. */}}
{{- define "flokoa-policies.agents" -}}
failurePolicy: Fail
matchConstraints:
  resourceRules:
    - apiGroups: [agent.flokoa.ai]
      apiVersions: [v1alpha1]
      operations: [CREATE, UPDATE]
      resources: [agents]
      scope: Namespaced # the API server would put "*" there, and every apply would find a difference
{{- end }}

{{/*
Variables of the policies about what runs. They judge only a change of what they judge: an Agent from before the policy can
still be suspended, scaled, deleted, and changed in everything else.
*/}}
{{- define "flokoa-policies.runs" -}}
- name: runs
  expression: object.spec.runtime.spec
- name: unchanged
  expression: >-
    oldObject != null
    && object.spec.runtime.spec.container == oldObject.spec.runtime.spec.container
    && object.spec.runtime.spec.?initContainers == oldObject.spec.runtime.spec.?initContainers
    && object.spec.runtime.spec.?sidecars == oldObject.spec.runtime.spec.?sidecars
    && object.spec.runtime.spec.?volumes == oldObject.spec.runtime.spec.?volumes
    && object.spec.?availability.?probes == oldObject.spec.?availability.?probes
- name: containers
  expression: "[variables.runs.container] + variables.runs.?initContainers.orValue([]) + variables.runs.?sidecars.orValue([])"
{{- end }}
