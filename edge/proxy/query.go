package proxy

import (
	"slices"
	"strings"
)

// A QueryKey chooses which parameters of a query are part of the cache key, and with it
// of what the origin is asked. The zero QueryKey leaves the query as it is.
type QueryKey struct {
	Drop []string // names left out; one may end in "*"
	Keep []string // where not nil, the only names kept
	// Sort brings parameters into the order of their names, byte by byte; those of one name stay in theirs, which
	// applications may read.
	Sort bool
}

// apply returns target with the parameters chosen, in their order or sorted.
func (k *QueryKey) apply(target string) string {
	if k.Keep == nil && len(k.Drop) == 0 && !k.Sort {
		return target
	}
	path, query, ok := strings.Cut(target, "?")
	if !ok {
		return target
	}
	var kept []string
	for parameter := range strings.SplitSeq(query, "&") {
		name := nameOf(parameter)
		if parameter == "" || names(k.Drop, name) || k.Keep != nil && !names(k.Keep, name) {
			continue
		}
		kept = append(kept, parameter)
	}
	if len(kept) == 0 {
		return path
	}
	if k.Sort {
		slices.SortStableFunc(kept, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	}
	return path + "?" + strings.Join(kept, "&")
}

// nameOf is the name of a query's parameter.
func nameOf(parameter string) string {
	name, _, _ := strings.Cut(parameter, "=")
	return name
}

// names reports whether one of the patterns covers name.
func names(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(name, prefix) || pattern == name {
			return true
		}
	}
	return false
}
