package configrollout

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func named(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func env(source corev1.EnvVarSource) []corev1.EnvVar {
	return []corev1.EnvVar{{Name: "X", ValueFrom: &source}}
}

func items(keys ...string) (items []corev1.KeyToPath) {
	for _, key := range keys {
		items = append(items, corev1.KeyToPath{Key: key, Path: key})
	}
	return items
}

func TestReferencesOfEverySourceOfAPod(t *testing.T) {
	optional := ptr.To(true)
	configKey := corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: named("a"), Key: "k"}}
	config, secret := Object{ConfigMap, "a"}, Object{Secret, "a"}
	for name, row := range map[string]struct {
		spec v1alpha1.RuntimeSpec
		want References
	}{
		"nothing": {v1alpha1.RuntimeSpec{Container: corev1.Container{Env: []corev1.EnvVar{{Name: "X", Value: "1"}}}}, References{}},
		"a key of a ConfigMap in env": {v1alpha1.RuntimeSpec{Container: corev1.Container{Env: env(configKey)}},
			References{config: {Required: true, Keys: map[string]bool{"k": true}}}},
		"an optional key of a Secret in env": {v1alpha1.RuntimeSpec{Container: corev1.Container{Env: env(corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: named("a"), Key: "k", Optional: optional}})}},
			References{secret: {Keys: map[string]bool{"k": false}}}},
		"envFrom a ConfigMap": {v1alpha1.RuntimeSpec{Container: corev1.Container{EnvFrom: []corev1.EnvFromSource{{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("a")}}}}},
			References{config: {All: true, Required: true}}},
		"envFrom an optional Secret": {v1alpha1.RuntimeSpec{Container: corev1.Container{EnvFrom: []corev1.EnvFromSource{{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("a"), Optional: optional}}}}},
			References{secret: {All: true}}},
		"an init container": {v1alpha1.RuntimeSpec{InitContainers: []corev1.Container{{Env: env(configKey)}}},
			References{config: {Required: true, Keys: map[string]bool{"k": true}}}},
		"a sidecar": {v1alpha1.RuntimeSpec{Sidecars: []corev1.Container{{}, {Env: env(configKey)}}},
			References{config: {Required: true, Keys: map[string]bool{"k": true}}}},
		"a volume with all keys of a ConfigMap": {v1alpha1.RuntimeSpec{Volumes: []v1alpha1.Volume{{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("a")}}}},
			References{config: {All: true, Required: true}}},
		"a volume with items of a Secret": {v1alpha1.RuntimeSpec{Volumes: []v1alpha1.Volume{{
			Secret: &corev1.SecretVolumeSource{SecretName: "a", Items: items("k", "l")}}}},
			References{secret: {Required: true, Keys: map[string]bool{"k": true, "l": true}}}},
		"a projected volume": {v1alpha1.RuntimeSpec{Volumes: []v1alpha1.Volume{{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("a"), Items: items("k"), Optional: optional}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: named("a")}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			}}}}},
			References{config: {Keys: map[string]bool{"k": false}}, secret: {All: true, Required: true}}},
		"one object in two ways is required if either is": {v1alpha1.RuntimeSpec{
			Container: corev1.Container{Env: env(configKey)},
			Volumes: []v1alpha1.Volume{{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: named("a"), Optional: optional}}}},
			References{config: {All: true, Required: true, Keys: map[string]bool{"k": true}}}},
		"a reference without a name": {v1alpha1.RuntimeSpec{Volumes: []v1alpha1.Volume{{Secret: &corev1.SecretVolumeSource{}}}}, References{}},
	} {
		require.Equal(t, row.want, ReferencesOf(&row.spec), name)
	}
}

func TestReferencedObjectsAreInOrder(t *testing.T) {
	references := References{{Secret, "a"}: {}, {ConfigMap, "b"}: {}, {ConfigMap, "a"}: {}}
	require.Equal(t, []Object{{ConfigMap, "a"}, {ConfigMap, "b"}, {Secret, "a"}}, references.Objects())
}
