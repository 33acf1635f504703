{{/* Network policy peer: pods of one namespace. Both selectors are in one peer, because two peers would each allow more. */}}
{{- define "flokoa-environment.peer" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace | quote }}
  podSelector:
    matchLabels:
      {{- toYaml .podLabels | nindent 6 }}
{{- end }}

{{/* Port of Istio's ambient mode, to which it moves the traffic between pods of the mesh, whatever their own port is. */}}
{{- define "flokoa-environment.meshPort" -}}
{{- if eq .Values.network.mesh "ambient" }}
- {protocol: TCP, port: 15008}
{{- end }}
{{- end }}
