package manifests

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// Bound are the Roles and ClusterRoles among these objects that a binding among them gives to someone. Others, such as those that
// Kubernetes aggregates into its own, grant nothing by themselves.
func Bound(objects []unstructured.Unstructured) []unstructured.Unstructured {
	type key struct{ namespace, kind, name string }
	given := map[key]bool{}
	for _, object := range objects {
		if kind := object.GetKind(); kind == "RoleBinding" || kind == "ClusterRoleBinding" {
			role, _, _ := unstructured.NestedStringMap(object.Object, "roleRef")
			namespace := object.GetNamespace()
			if role["kind"] == "ClusterRole" {
				namespace = ""
			}
			given[key{namespace, role["kind"], role["name"]}] = true
		}
	}
	var bound []unstructured.Unstructured
	for _, object := range objects {
		if given[key{object.GetNamespace(), object.GetKind(), object.GetName()}] {
			bound = append(bound, object)
		}
	}
	return bound
}
