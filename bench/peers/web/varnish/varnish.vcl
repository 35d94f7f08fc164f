# Varnish as `bench peers` runs it, behind hitch. What stands in {{"{{ }}"}} is filled in by the bench; parameters are in web_peers.go.
# All else is the built-in VCL: what the upstream says is what counts.
vcl 4.1;

backend origin {
    .host = "{{.UpstreamIP}}";
    .port = "{{.UpstreamPort}}";
    .connect_timeout = 5s;
    .first_byte_timeout = 30s;
}
