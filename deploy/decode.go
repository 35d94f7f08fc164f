package deploy

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-yaml/ast"
)

// The library's own decoder ends at the first mistake and forgets where values stood.
// This one walks the library's syntax tree, notes every mistake and every place, and
// holds values to the struct tags from which the JSON Schema is made too.

// value is what v points to, to be decoded into.
func value(v any) reflect.Value { return reflect.ValueOf(v).Elem() }

// decode reads n, the value at path, into v, which holds the defaults.
func (l *loader) decode(path string, n ast.Node, v reflect.Value) {
	l.where[path] = nodePosition(n)
	switch n.(type) {
	case *ast.NullNode:
		l.wrong(path, "has no value; give it one, or leave the key out")
		return
	case *ast.AnchorNode, *ast.AliasNode:
		l.wrong(path, "anchors and aliases (& and *) are not used in a network file; write the value out, or in quotes")
		return
	case *ast.TagNode:
		l.wrong(path, "tags (!) are not used in a network file; write the value without, or in quotes")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		l.network.fill(v.Interface())
		v = v.Elem()
	}
	switch target := v.Addr().Interface().(type) {
	case *Certificate:
		l.certificate(path, n, target)
	case *map[netip.Prefix]Spot:
		l.prefixes(path, n, target)
	case encoding.TextUnmarshaler:
		l.text(path, n, target)
	default:
		l.plain(path, n, v)
	}
}

// plain reads values of the language's own kinds.
func (l *loader) plain(path string, n ast.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		l.mapping(path, n, v)
	case reflect.Slice:
		l.list(path, n, v)
	case reflect.String:
		if s, ok := l.str(path, n); ok {
			v.SetString(s)
		}
	case reflect.Int:
		l.whole(path, n, v)
	case reflect.Float64:
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			f, err := strconv.ParseFloat(n.GetToken().Value, 64)
			if err != nil {
				l.wrong(path, "%s is not a number", quote(n.GetToken().Value))
			}
			v.SetFloat(f)
		case *ast.NanNode, *ast.InfinityNode:
			l.wrong(path, "%s is not a number", quote(n.GetToken().Value))
		default:
			l.wrong(path, "wants a number, not %s", kind(n))
		}
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			l.wrong(path, "wants true or false, not %s", kind(n))
			return
		}
		v.SetBool(b.Value)
	default:
		panic("deploy: no way to read a " + v.Type().String())
	}
}

// whole reads a whole number.
func (l *loader) whole(path string, n ast.Node, v reflect.Value) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		if x, ok := plainInt(n); ok {
			v.SetInt(x)
		} else if text := strings.TrimPrefix(n.Token.Value, "-"); strings.Trim(text, "0123456789") == "" && text[0] != '0' {
			l.wrong(path, "%s is more than 32 bits hold", quote(n.Token.Value))
		} else {
			l.wrong(path, "%s is not a whole number in plain decimal digits", quote(n.Token.Value))
		}
	case *ast.FloatNode:
		l.wrong(path, "%s is not a whole number", quote(n.Token.Value))
	default:
		l.wrong(path, "wants a whole number, not %s", kind(n))
	}
}

// A field is one key of a mapping.
type field struct {
	key   string
	index []int
	tag   reflect.StructTag
}

// listed is what fields has found, by reflect.Type: two hundred PoPs are of one type.
var listed sync.Map

// fields lists the keys of a struct, those of inlined structs with them. The list is for reading.
func fields(t reflect.Type) []field {
	if fs, ok := listed.Load(t); ok {
		return fs.([]field)
	}
	var fs []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			for _, inner := range fields(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				fs = append(fs, inner)
			}
		case key != "" && key != "-":
			fs = append(fs, field{key, []int{i}, f.Tag})
		}
	}
	listed.Store(t, fs)
	return fs
}

// mapping reads a mapping into a struct, its keys in the struct's order, so that
// `edge` is known before the PoPs that build on it.
func (l *loader) mapping(path string, n ast.Node, v reflect.Value) {
	all := fields(v.Type())
	known := make([]string, len(all))
	for i, f := range all {
		known[i] = f.key
	}
	given, ok := l.pairs(path, n, func(key string, p position) bool {
		if slices.Contains(known, key) {
			return true
		}
		l.at(p, "unknown key %s%s", quote(key), suggestKey(key, known))
		return false
	})
	if !ok {
		return
	}
	for _, f := range all {
		here := join(path, f.key)
		target := v.FieldByIndex(f.index)
		value, ok := given[f.key]
		if !ok {
			if hasRule(f.tag, "required") {
				l.bad[here] = true
				l.at(l.find(path), "%skey `%s` is missing", label(path), f.key)
			}
			continue
		}
		l.decode(here, value, target)
		if !l.bad[here] {
			l.rules(here, f.tag, target)
		}
	}
}

// pairs returns the values of a mapping by key. Keys that known refuses, repeated
// ones and merges are left out.
func (l *loader) pairs(path string, n ast.Node, known func(string, position) bool) (map[string]ast.Node, bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		l.wrong(path, "wants a mapping of keys to values, not %s", kind(n))
		return nil, false
	}
	given := map[string]ast.Node{}
	first := map[string]position{}
	for it := m.MapRange(); it.Next(); {
		k := it.Key()
		at := nodePosition(k)
		if k.IsMergeKey() {
			l.at(at, "merge keys (<<) are not used in a network file; write the values out")
			continue
		}
		key := keyText(k)
		if p, again := first[key]; again {
			l.at(at, "key %s is here twice; it was set in line %d already", quote(key), p.line)
			continue
		}
		first[key] = at
		if known(key, at) {
			given[key] = it.Value()
		}
	}
	return given, true
}

// list reads a list into a slice.
func (l *loader) list(path string, n ast.Node, v reflect.Value) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		l.wrong(path, "wants a list, not %s", kind(n))
		return
	}
	slice := reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values))
	for i, e := range s.Values {
		l.network.fill(slice.Index(i).Addr().Interface())
		l.decode(fmt.Sprintf("%s[%d]", path, i), e, slice.Index(i))
	}
	v.Set(slice)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// plainInt returns a whole number written in decimal digits only: 010 and 0x10 mean
// one number to some readers and another to others. No number here needs more than
// 32 bits.
func plainInt(n *ast.IntegerNode) (int64, bool) {
	x, err := strconv.ParseInt(n.Token.Value, 10, 32)
	return x, err == nil && strconv.FormatInt(x, 10) == n.Token.Value
}

func keyText(k ast.MapKeyNode) string {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value
	default:
		return k.GetToken().Value
	}
}

// kind names what a node is, for a message.
func kind(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.NullNode:
		return "nothing"
	default:
		return "text"
	}
}

// nodePosition is where a value begins: a block mapping at its first key, where its
// token is the colon behind.
func nodePosition(n ast.Node) position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return nodePosition(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return nodePosition(n.Key)
	}
	return positionOf(n.GetToken())
}

// suggestKey is the end of the message on an unknown key.
func suggestKey(key string, known []string) string {
	if n := nearest(key, known); n != "" {
		return "; did you mean `" + n + "`?"
	}
	return "; known here are " + strings.Join(known, ", ")
}
