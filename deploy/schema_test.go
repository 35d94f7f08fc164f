package deploy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	invopop "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"hither/deploy"
)

var update = flag.Bool("update", false, "write network.schema.json and the expected mistakes anew")

// generate makes the JSON Schema from the structs, their tags and their comments.
func generate(t *testing.T) []byte {
	t.Helper()
	text := func(pattern, comment string) *invopop.Schema {
		return &invopop.Schema{Type: "string", Pattern: pattern, Comments: comment}
	}
	r := &invopop.Reflector{
		Anonymous: true, ExpandedStruct: true, FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true,
	}
	spot := &invopop.Schema{OneOf: []*invopop.Schema{
		{Type: "string", Pattern: namePattern},
		{Ref: "#/$defs/Place"},
	}}
	r.Mapper = func(typ reflect.Type) *invopop.Schema {
		switch typ {
		case reflect.TypeFor[deploy.Duration]():
			return text(`^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$`, "a duration such as 30s, 1h30m, 250ms")
		case reflect.TypeFor[deploy.Size]():
			return &invopop.Schema{OneOf: []*invopop.Schema{
				text(`^[0-9]+(B|KiB|MiB|GiB|TiB)$`, "a size such as 512MiB"), {Type: "integer", Minimum: "0"},
			}}
		case reflect.TypeFor[netip.Addr]():
			return &invopop.Schema{AnyOf: []*invopop.Schema{{Type: "string", Format: "ipv4"}, {Type: "string", Format: "ipv6"}}}
		case reflect.TypeFor[netip.Prefix]():
			return text(`^[0-9A-Fa-f.:]+/[0-9]{1,3}$`, "a prefix such as 192.0.2.0/24")
		case reflect.TypeFor[netip.AddrPort]():
			return text(`^([0-9.]+|\[[0-9A-Fa-f.:]+\]):[0-9]{1,5}$`, "an IP address with a port")
		case reflect.TypeFor[deploy.HostPort]():
			return text(`^([0-9a-z.-]+|\[[0-9A-Fa-f.:]+\]):[0-9]{1,5}$`, "an address or name with a port")
		case reflect.TypeFor[map[netip.Prefix]deploy.Spot]():
			return &invopop.Schema{Type: "object", AdditionalProperties: spot}
		}
		return nil
	}
	if err := r.AddGoComments("hither/deploy", ".", invopop.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	for k, v := range r.CommentMap {
		r.CommentMap[k] = strings.Join(strings.Fields(v), " ")
	}
	s := r.Reflect(&deploy.Network{})
	s.Title = "hither network file"
	// A prefix's place is no field of a struct, so the reflector does not reach it, and
	// the two short forms of a certificate stand beside its struct.
	s.Definitions["Certificate"] = &invopop.Schema{OneOf: []*invopop.Schema{
		{Type: "string", Enum: []any{deploy.CertificateLocal, deploy.CertificateACME}},
		s.Definitions["Certificate"],
	}}
	walkChecks(reflect.TypeFor[deploy.Network](), s, s.Definitions)
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

const (
	namePattern   = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	domainPattern = `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
)

// walkChecks says as patterns what the `check` tags say.
func walkChecks(typ reflect.Type, s *invopop.Schema, defs invopop.Definitions) {
	patterns := map[string]string{
		"name": namePattern, "domain": domainPattern, "path": `^(/.*)?$`,
		"host": `^(\*\.)?` + domainPattern[1:], "coding": `^(br|zstd|gzip)$`,
		"cdn":   `^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?(:[0-9]{1,5})?$`,
		"media": `^([a-z0-9][a-z0-9!#$&^_.-]{0,126}/([a-z0-9][a-z0-9!#$&^_.+-]{0,126}|\*)|\*\+[a-z0-9][a-z0-9_.-]{0,62})$`,
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			walkChecks(f.Type, s, defs)
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		property, ok := s.Properties.Get(key)
		if !ok {
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner, property = inner.Elem(), property.Items
		}
		if p := patterns[f.Tag.Get("check")]; p != "" && inner.Kind() == reflect.String {
			property.Pattern = p
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if d := defs[inner.Name()]; inner.Kind() == reflect.Struct && d != nil && d.Properties != nil {
			walkChecks(inner, d, defs)
		}
	}
}

// TestSchema holds network.schema.json to the structs. `go test ./deploy -run
// TestSchema -update` writes it.
func TestSchema(t *testing.T) {
	want := generate(t)
	if *update {
		if err := os.WriteFile("network.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(deploy.Schema(), want) {
		t.Error("network.schema.json is older than the structs; run `go test ./deploy -run TestSchema -update`")
	}
}

// TestSchemaDescribesAll wants a sentence for every key: the schema is the manual.
func TestSchemaDescribesAll(t *testing.T) {
	var root any
	if err := json.Unmarshal(generate(t), &root); err != nil {
		t.Fatal(err)
	}
	keys := 0
	var walk func(path string, v any)
	walk = func(path string, v any) {
		m, _ := v.(map[string]any)
		if properties, ok := m["properties"].(map[string]any); ok {
			for key, p := range properties {
				keys++
				if d, _ := p.(map[string]any)["description"].(string); d == "" {
					t.Errorf("%s.%s has no description", path, key)
				}
			}
		}
		for key, inner := range m {
			walk(path+"/"+key, inner)
		}
	}
	walk("", root)
	if keys < 100 {
		t.Errorf("only %d keys were found; the walk is broken", keys)
	}
}

// validator compiles the committed schema.
func validator(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(deploy.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("network.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("network.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, file string) error {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestSchemaTakesTheExample(t *testing.T) {
	s := validator(t)
	for name, file := range goodFiles(t) {
		if err := validate(t, s, file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	s := validator(t)
	example := string(deploy.Example())
	for name, change := range map[string][2]string{
		"unknown key":       {"addresses: [127.0.1.1]", "adress: [127.0.1.1]"},
		"version":           {"version: 1", "version: 2"},
		"latitude":          {"lat: 50.11", "lat: 150.11"},
		"no name":           {"name: demo ", "# "},
		"duration":          {"header_time: 10s", "header_time: 10"},
		"size":              {"memory: 256MiB", "memory: 256MB"},
		"enum":              {"early_data: safe", "early_data: maybe"},
		"address":           {"[127.0.1.3]", "[127.0.1.333]"},
		"certificate":       {"certificate: local", "certificate: remote"},
		"certificate files": {"certificate: local", "certificate: {cert: /c.pem}"},
		"host":              {"hosts: [www.hither.test]", "hosts: [\"www hither.test\"]"},
		"prefix place":      {"127.0.0.0/8: fra", "127.0.0.0/8: {lat: 91, lon: 0}"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := strings.Replace(example, change[0], change[1], 1)
			if wrong == example {
				t.Fatalf("the example does not have %q", change[0])
			}
			if err := validate(t, s, wrong); err == nil {
				t.Errorf("the schema takes %q", change[1])
			}
		})
	}
}
