# What the clients of each prefix get.
www.bench.test:
{{range .Prefixes}}  - net: {{.Prefix}}
    A: {{$.AddrOf .PoP}}
{{end}}
