package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

func TestLogNamesObjectsInsteadOfDumpingThem(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	for name, r := range map[string]struct {
		value any
		want  any
	}{
		"an event": {&eventsv1.Event{
			Type: "Warning", Reason: "ApplyFailed", Note: "a long note",
			Regarding: corev1.ObjectReference{Kind: "Agent", Namespace: "ns", Name: "a"},
		}, "Warning ApplyFailed about Agent ns/a"},
		"another object":      {pod, "ns/p"},
		"an object reference": {klog.KObj(pod), map[string]any{"namespace": "ns", "name": "p"}},
		"a number":            {3, 3.0},
		"nil":                 {nil, nil},
		"a nil event":         {(*eventsv1.Event)(nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			logger := logr.FromSlogHandler(logHandler(Options{LogFormat: "json"}, &out))
			logger.Error(errors.New("boom"), "rejected", "what", r.value)
			line := map[string]any{}
			require.NoError(t, json.Unmarshal(out.Bytes(), &line))
			require.Equal(t, "boom", line["err"])
			require.Equal(t, r.want, line["what"])
		})
	}
}
