// Command render shows what is applied for an environment, and what promotion from one to the next changes.
//
//	make render ENV=production [WITH=helm|kustomize]   prints it as YAML, the cluster's half and the namespace's
//	make diff ENV=staging TO=production                prints what differs, a line for each field
//
// It reads the charts and overlays of the repository in the working directory, and needs no cluster.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

func main() {
	if err := run(".", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(root string, args []string, out io.Writer) error {
	args = append(args, "", "", "") // what make leaves out is empty
	switch args[0] {
	case "render":
		with := args[2]
		if with == "" {
			with = "helm"
		}
		return render(root, args[1], with, out)
	case "diff":
		return diff(root, args[1], args[2], out)
	default:
		return fmt.Errorf("%q is neither render nor diff", args[0])
	}
}

func render(root, environment, with string, out io.Writer) error {
	halves, err := manifests.Environment(root, environment, with)
	if err != nil {
		return err
	}
	for _, half := range halves {
		text, err := manifests.Text(half.Objects)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "# %s of %s: %d objects (%s)\n%s", half.Name, environment, len(half.Objects), half.Source, text); err != nil {
			return err
		}
	}
	return nil
}

// diff leaves out what only names an environment: as if the first had the names of the second.
func diff(root, from, to string, out io.Writer) error {
	before, err := manifests.Environment(root, from, "helm")
	if err != nil {
		return err
	}
	after, err := manifests.Environment(root, to, "helm")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "From %s to %s, names apart:\n", from, to); err != nil {
		return err
	}
	for i := range before {
		if err := diffHalf(before[i].Name, renamed(before[i].Objects, from, to), after[i].Objects, out); err != nil {
			return err
		}
	}
	return nil
}

func diffHalf(half string, before, after []unstructured.Unstructured, out io.Writer) error {
	differences := manifests.Compare(before, after)
	if _, err := fmt.Fprintf(out, "\n%s: %s\n", half, count(len(differences))); err != nil {
		return err
	}
	object := ""
	for _, difference := range differences {
		text := difference.String()
		if difference.Field != "" {
			if difference.Object != object {
				object = difference.Object
				if _, err := fmt.Fprintf(out, "  ~ %s\n", object); err != nil {
					return err
				}
			}
			text = "    " + strings.TrimPrefix(text, "~ "+object+": ")
		} else {
			text = "  " + text
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	return nil
}

func count(n int) string {
	switch n {
	case 0:
		return "nothing changes"
	case 1:
		return "1 difference"
	default:
		return fmt.Sprintf("%d differences", n)
	}
}

// renamed gives the objects of one environment the names of another: its namespace and its groups.
func renamed(objects []unstructured.Unstructured, from, to string) []unstructured.Unstructured {
	replace := strings.NewReplacer("flokoa-"+from, "flokoa-"+to, "flokoa:"+from+":", "flokoa:"+to+":")
	var all []unstructured.Unstructured
	for _, object := range objects {
		all = append(all, unstructured.Unstructured{Object: renameIn(object.Object, replace).(map[string]any)})
	}
	return all
}

func renameIn(value any, replace *strings.Replacer) any {
	switch value := value.(type) {
	case string:
		return replace.Replace(value)
	case []any:
		made := make([]any, len(value))
		for i, each := range value {
			made[i] = renameIn(each, replace)
		}
		return made
	case map[string]any:
		made := map[string]any{}
		for key, each := range value {
			made[key] = renameIn(each, replace)
		}
		return made
	default:
		return value
	}
}
