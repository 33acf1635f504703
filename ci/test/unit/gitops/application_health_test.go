package gitops_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
)

// An Application of Applications waits for each wave by this script: it must wait for what the Application has not applied yet, and for
// nothing that never happens.
func TestApplicationIsHealthyOnceItsRevisionIsApplied(t *testing.T) {
	script := text(argoCDSettings(t).Object, "data", "resource.customizations.health.argoproj.io_Application")
	type object = map[string]any
	settled := object{
		"spec": object{
			"source":     object{"repoURL": "https://git.example.com/a", "targetRevision": "v1"},
			"syncPolicy": object{"automated": object{"prune": true}},
		},
		"status": object{
			"sync":           object{"status": "Synced", "revision": "abc", "comparedTo": object{"source": object{"repoURL": "https://git.example.com/a", "targetRevision": "v1"}}},
			"health":         object{"status": "Healthy"},
			"operationState": object{"phase": "Succeeded", "syncResult": object{"revision": "abc"}},
		},
	}
	within := func(application object, path ...string) object {
		for _, key := range path {
			application = application[key].(object)
		}
		return application
	}
	for name, r := range map[string]struct {
		change func(object)
		want   string
	}{
		"applied, and healthy":             {func(object) {}, "Healthy"},
		"applied, and not healthy":         {func(a object) { within(a, "status", "health")["status"] = "Degraded" }, "Degraded"},
		"just created":                     {func(a object) { delete(a, "status") }, "Progressing"},
		"compared with the last revision":  {func(a object) { within(a, "spec", "source")["targetRevision"] = "v2" }, "Progressing"},
		"compared with another repository": {func(a object) { within(a, "spec", "source")["repoURL"] = "https://git.example.com/b" }, "Progressing"},
		"a sync runs":                      {func(a object) { within(a, "status", "operationState")["phase"] = "Running" }, "Progressing"},
		"a sync is asked for":              {func(a object) { a["operation"] = object{"sync": object{}} }, "Progressing"},
		"differs, and was not synced": {func(a object) {
			within(a, "status", "sync")["status"] = "OutOfSync"
			within(a, "status", "sync")["revision"] = "def"
		}, "Progressing"},
		"its sync failed": {func(a object) {
			within(a, "status", "sync")["status"] = "OutOfSync"
			within(a, "status", "operationState")["phase"] = "Failed"
		}, "Progressing"},
		"keeps a policy that has left Git": {func(a object) { within(a, "status", "sync")["status"] = "OutOfSync" }, "Healthy"},
		"waits for a person": {func(a object) {
			within(a, "status", "sync")["status"] = "OutOfSync"
			delete(within(a, "status"), "operationState")
			delete(within(a, "spec"), "syncPolicy")
		}, "Healthy"},
		"several sources, which are unread": {func(a object) { delete(within(a, "spec"), "source"); delete(within(a, "status", "sync"), "comparedTo") }, "Healthy"},
	} {
		t.Run(name, func(t *testing.T) {
			application := runtime.DeepCopyJSON(settled)
			r.change(application)
			require.Equal(t, r.want, runHealth(t, script, application).Status)
		})
	}
}
