package check

import "flag"

// FlagNames returns the names of all flags.
func FlagNames() []string {
	var names []string
	newFlags(&options{}).VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}
