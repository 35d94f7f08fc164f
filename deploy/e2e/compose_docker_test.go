//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// project is the name of the containers, networks and the image of a scenario, benchImage that of the image that the
// profile has, and natsImage that of a NATS server.
const (
	project    = "hither-e2e"
	benchImage = project + "-bench"
	natsImage  = project + "-nats"
)

var composedImages = []string{project, benchImage, natsImage}

// composed is the network of deploy/compose, under addresses of this test's own. Its
// state is where a network's is, but for the sockets, which only the containers' user may use.
type composed struct {
	network
	path     string   // of docker-compose
	settings []string // flags before each command
	base     string   // has the settings in .env, and the folders network and state
	folder   string   // which is /network in the containers
	bridge   string   // first three numbers of the containers' addresses
}

// composition prepares a network that is not built or started yet, with settings as in
// env.example. With the test it ends, and nothing of it is left.
func composition(t *testing.T, net, bridge string, settings ...string) *composed {
	t.Helper()
	peer(t, "docker", "docker.io")
	c := &composed{path: peer(t, "docker-compose", "docker-compose"), bridge: bridge, base: t.TempDir()}
	c.net, c.folder, c.dir = net, filepath.Join(c.base, "network"), filepath.Join(c.base, "state")
	if out, err := exec.CommandContext(t.Context(), "docker", "info").CombinedOutput(); err != nil {
		t.Fatalf("docker does not answer: apt-get install docker.io docker-compose, start it (systemctl start docker), and have a user of the group docker run this: %v\n%s", err, last(string(out), 3))
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 65532, 65532 // not root, of all users: that is what is shown
	}
	env := filepath.Join(c.base, ".env")
	text := fmt.Sprintf("HITHER_UID=%d\nHITHER_GID=%d\nHITHER_TARGET=prebuilt\nHITHER_IMAGE=%s\nHITHER_NET=%s\nHITHER_BRIDGE=%s\nHITHER_NETWORK=%s\nHITHER_STATE=%s\n",
		uid, gid, project, net, bridge, c.folder, c.dir)
	text += strings.Join(append([]string{"COMPOSE_PROJECT_NAME=" + project, "HITHER_BENCH_IMAGE=" + benchImage, "HITHER_NATS_IMAGE=" + natsImage}, settings...), "\n") + "\n"
	if err := os.WriteFile(env, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.settings = []string{"--project-name", project, "--file", absolute(t, root+"/deploy/compose/docker-compose.yaml"), "--env-file", env}
	c.remove(t) // what a run that was killed may have left
	t.Cleanup(func() { c.end(t) })
	return c
}

// write writes the network file, changed as in [edited] and moved to the test's
// addresses, and files beside it.
func (c *composed) write(t *testing.T, files map[string][]byte, edits ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", "compose", "network", "network.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.NewReplacer("127.0.0.0/8", "127.0.0.0/8", "127.0.", c.net+".", "10.83.0.", c.bridge+".").Replace(string(text))
	moved = edited(t, moved, soonForgotten...)
	all := map[string][]byte{"network.yaml": []byte(edited(t, moved, edits...))}
	maps.Copy(all, files)
	for name, data := range all {
		path := filepath.Join(c.folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, status := call(t, "check", filepath.Join(c.folder, "network.yaml")); status != 0 {
		t.Fatalf("check: status %d: %s", status, stderr)
	}
}

// build makes the image as `make image` does, by compose's own file; with services of the
// profile, theirs too.
func (c *composed) build(t *testing.T, more ...string) {
	t.Helper()
	static := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "bin/image/", "./deploy/hither", "./bench")
	static.Dir = root
	static.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := static.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", static, err, out)
	}
	c.run(t, append([]string{"build", "--quiet", "init"}, more...)...)
}

// up starts everything and waits until the health checks pass.
func (c *composed) up(t *testing.T) {
	t.Helper()
	c.run(t, "up", "--detach")
	c.healthy(t)
}

// healthy waits until the health checks pass.
func (c *composed) healthy(t *testing.T) {
	t.Helper()
	healthy := func() bool {
		states := c.containers(t)
		return !slices.ContainsFunc(composedNodes, func(node string) bool { return !strings.HasSuffix(states[node], "(healthy)") })
	}
	if !until(readyTime, healthy) {
		t.Fatalf("not healthy: %v", c.containers(t))
	}
	if state := c.containers(t)["init"]; !strings.HasPrefix(state, "Exited (0)") {
		t.Errorf("init: %s", state)
	}
}

var composedNodes = []string{"dns-ns1", "edge-fra", "edge-iad", "edge-sin", "origin-us"}

// confined looks at what Docker lets the containers be.
func (c *composed) confined(t *testing.T) {
	t.Helper()
	for _, node := range composedNodes {
		o := c.inspect(t, node)
		if wrong := o.loose(); wrong != nil || !slices.Equal(o.Config.Entrypoint, []string{"/hither"}) {
			t.Errorf("%s: %v; %+v", node, wrong, o)
		}
		for _, m := range o.Mounts {
			if m.RW && m.Source != filepath.Join(c.dir, "nodes", node) || !m.RW && m.Source != c.folder {
				t.Errorf("%s sees %s at %s, writable: %t", node, m.Source, m.Destination, m.RW)
			}
		}
		if len(o.Mounts) != 2 {
			t.Errorf("%s has %d mounts", node, len(o.Mounts))
		}
	}
	if out, err := exec.CommandContext(t.Context(), c.path, c.args("exec", "-T", "edge-fra", "/bin/sh", "-c", "true")...).CombinedOutput(); err == nil {
		t.Errorf("the image has a shell: %s", out)
	}
}

// A container is what Docker says of one.
type container struct {
	RestartCount int
	Config       struct {
		User       string
		Entrypoint []string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		Privileged     bool
		CapAdd         []string
		CapDrop        []string
		SecurityOpt    []string
	}
	Mounts []struct {
		Source, Destination string
		RW                  bool
	}
}

// inspect asks Docker for a service's container.
func (c *composed) inspect(t *testing.T, service string) container {
	t.Helper()
	var all []container
	id := strings.TrimSpace(c.run(t, "ps", "--quiet", service))
	if err := json.Unmarshal([]byte(docker(t, "inspect", id)), &all); err != nil || len(all) != 1 {
		t.Fatalf("inspect %s: %d containers, %v", service, len(all), err)
	}
	return all[0]
}

// loose says what a container may do that none has to.
func (o *container) loose() error {
	h := o.HostConfig
	if o.Config.User == "" || strings.HasPrefix(o.Config.User, "0") || !h.ReadonlyRootfs || h.Privileged || len(h.CapAdd) > 0 ||
		!slices.Equal(h.CapDrop, []string{"ALL"}) || !slices.Contains(h.SecurityOpt, "no-new-privileges:true") {
		return errors.New("it is root, may become it, or may write to its root")
	}
	return nil
}

// devices are the network devices of a container.
func (c *composed) devices(t *testing.T, node string) (names []string) {
	t.Helper()
	id := strings.TrimSpace(c.run(t, "ps", "--quiet", node))
	pid := strings.TrimSpace(docker(t, "inspect", "--format", "{{.State.Pid}}", id))
	text, err := os.ReadFile(filepath.Join("/proc", pid, "net", "dev"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ask asks the DNS server for a client.
func (c *composed) ask(t *testing.T, client string, question ...string) heard {
	t.Helper()
	dig := askersOf(t, c.nameServer(), dnsPort)[0]
	return dig.ask(t, append([]string{"+subnet=" + client}, question...)...)
}

// explain asks the DNS server what a client gets, and why.
func (c *composed) explain(t *testing.T, client string) (x explanation) {
	t.Helper()
	out := c.run(t, "exec", "-T", "dns-ns1", "hither", "explain", "dns", host, "--client", client, "--state", "/state", "-o", "json")
	if err := json.Unmarshal([]byte(out), &x); err != nil {
		t.Fatalf("explain dns: %v in %s", err, out)
	}
	return x
}

// containers returns what Docker says of each, by the name of its service.
func (c *composed) containers(t *testing.T) map[string]string {
	t.Helper()
	states := make(map[string]string)
	for line := range strings.Lines(docker(t, "ps", "--all", "--filter", ours, "--format", `{{.Label "com.docker.compose.service"}}={{.Status}}`)) {
		name, state, _ := strings.Cut(strings.TrimSpace(line), "=")
		states[name] = state
	}
	return states
}

// ours tells Docker which of its things are the scenario's.
const ours = "label=com.docker.compose.project=" + project

// end shows what the nodes said if the test has failed, and leaves nothing behind.
func (c *composed) end(t *testing.T) {
	// First of all what must be done: a check may end the cleanup.
	logs, err := exec.Command(c.path, c.args("logs", "--no-color")...).CombinedOutput()
	c.remove(t)
	if err != nil {
		t.Errorf("logs: %v", err)
	}
	for _, line := range crashes(string(logs)) {
		t.Error(line)
	}
	if t.Failed() {
		t.Logf("the containers' logs:\n%s", last(string(logs), 100))
	}
	c.nothing(t)
	for _, image := range composedImages {
		if left := docker(t, "image", "ls", "--quiet", image); left != "" {
			t.Errorf("the image %s is left: %s", image, left)
		}
	}
}

// remove removes containers, networks, volumes and the images.
func (c *composed) remove(t *testing.T) {
	t.Helper()
	c.run(t, "down", "--volumes", "--remove-orphans")
	for _, image := range composedImages {
		if docker(t, "image", "ls", "--quiet", image) != "" {
			docker(t, "image", "rm", "--force", image)
		}
	}
}

// nothing fails the test if Docker still has something of the scenario's but the image.
func (c *composed) nothing(t *testing.T) {
	t.Helper()
	for _, list := range [][]string{{"ps", "--all"}, {"network", "ls"}, {"volume", "ls"}} {
		if left := docker(t, append(list, "--quiet", "--filter", ours)...); left != "" {
			t.Errorf("docker %s: left is %s", strings.Join(list, " "), left)
		}
	}
}

func (c *composed) args(words ...string) []string { return append(slices.Clone(c.settings), words...) }

// run calls docker-compose and returns what it writes.
func (c *composed) run(t *testing.T, words ...string) string {
	t.Helper()
	return output(t, c.path, c.args(words...)...)
}

func docker(t *testing.T, words ...string) string {
	t.Helper()
	return output(t, "docker", words...)
}

// composeTime bounds one call: `down` waits for the drain of one node after the other.
const composeTime = 2 * endTime

// output is what a program writes that has to succeed. It does not end with the test's
// context, for it also cleans up after the test.
func output(t *testing.T, path string, args ...string) string {
	t.Helper()
	return outputIn(t, "", path, args...)
}

// outputIn is output in a working directory of its own.
func outputIn(t *testing.T, dir, path string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	stop := time.AfterFunc(composeTime, func() { cmd.Process.Kill() })
	defer stop.Stop()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out.String(), errs.String())
	}
	return out.String()
}
