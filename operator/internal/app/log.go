package app

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func logHandler(options Options, logs io.Writer) slog.Handler {
	settings := &slog.HandlerOptions{Level: options.LogLevel, ReplaceAttr: nameObjects}
	if options.LogFormat == "text" {
		return slog.NewTextHandler(logs, settings)
	}
	return slog.NewJSONHandler(logs, settings)
}

// nameObjects logs the name of an object where a library would log all of it: client-go logs every Event that the API server
// rejects.
func nameObjects(_ []string, attribute slog.Attr) slog.Attr {
	value := attribute.Value.Any()
	if pointer := reflect.ValueOf(value); pointer.Kind() == reflect.Pointer && pointer.IsNil() {
		return attribute
	}
	switch object := value.(type) {
	case *eventsv1.Event:
		about := object.Regarding
		attribute.Value = slog.StringValue(fmt.Sprintf("%s %s about %s %s/%s", object.Type, object.Reason, about.Kind, about.Namespace, about.Name))
	case metav1.Object:
		attribute.Value = slog.StringValue(object.GetNamespace() + "/" + object.GetName())
	}
	return attribute
}
