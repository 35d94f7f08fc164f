package peers

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

//go:embed web
var webFiles embed.FS

// A WebPeer is another's web server that ours can be measured against.
type WebPeer struct {
	Name      string
	HTTP3     bool     // Debian's speaks it
	Stores    bool     // it has a cache; without, it serves files
	Note      string   // for people who read figures
	number    int      // of its address, net.3.number
	folders   []string // that it must find in its own
	programs  []webProgram
	processes func(d webData, paths []string) []webProcess
}

// A webProgram is one that must be there.
type webProgram struct {
	name, debian string
	version      []string // arguments that have it tell its version
}

// A webProcess is one to start.
type webProcess struct {
	name  string
	cmd   *exec.Cmd
	ready string // a unix socket where it listens; "" = at the server's address
	file  bool   // its standard output is a log
}

// webData is what the configurations in web/ are filled in with.
type webData struct {
	Dir, Host, IP, Address, Upstream, UpstreamIP, UpstreamPort string
	Cert, Key, Pair, Objects                                   string
	Port, Connections, Files                                   int
	Log, Root                                                  bool
}

// WebPeers lists them.
func WebPeers() []WebPeer {
	return []WebPeer{
		{
			Name: "nginx", Stores: true, number: 1, programs: []webProgram{{"nginx", "nginx", []string{"-v"}}},
			processes: func(d webData, paths []string) []webProcess {
				return []webProcess{{name: "nginx", cmd: exec.Command(paths[0], "-c", filepath.Join(d.Dir, "nginx.conf"), "-p", d.Dir, "-e", "stderr")}}
			},
		},
		{
			Name: "haproxy", Stores: true, number: 2, programs: []webProgram{{"haproxy", "haproxy", []string{"-v"}}},
			processes: func(d webData, paths []string) []webProcess {
				return []webProcess{{name: "haproxy", cmd: exec.Command(paths[0], "-db", "-f", filepath.Join(d.Dir, "haproxy.cfg")), file: d.Log}}
			},
		},
		{
			Name: "varnish", Stores: true, number: 3, Note: "with hitch before it, both counted",
			programs: []webProgram{
				{"varnishd", "varnish", []string{"-V"}}, {"hitch", "hitch", []string{"--version"}}, {"varnishncsa", "varnish", []string{"-V"}},
			},
			processes: varnish,
		},
		{
			Name: "trafficserver", Stores: true, number: 4, folders: []string{"run", "log", "cache"},
			programs: []webProgram{{"traffic_server", "trafficserver", []string{"-V"}}},
			processes: func(d webData, paths []string) []webProcess {
				cmd := exec.Command(paths[0])
				cmd.Env = append(os.Environ(), "TS_RUNROOT="+filepath.Join(d.Dir, "runroot.yaml"))
				return []webProcess{{name: "traffic_server", cmd: cmd}}
			},
		},
		{
			Name: "caddy", HTTP3: true, number: 5, Note: "has no cache: hits are files", programs: []webProgram{{"caddy", "caddy", []string{"version"}}},
			processes: func(d webData, paths []string) []webProcess {
				cmd := exec.Command(paths[0], "run", "--config", filepath.Join(d.Dir, "Caddyfile"), "--adapter", "caddyfile")
				cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+d.Dir, "XDG_CONFIG_HOME="+d.Dir, "HOME="+d.Dir)
				return []webProcess{{name: "caddy", cmd: cmd}}
			},
		},
	}
}

// varnish has three programs: the cache, TLS before it, and who writes its log, which it keeps in memory only.
func varnish(d webData, paths []string) []webProcess {
	sock := filepath.Join(d.Dir, "varnish.sock")
	cache := exec.Command(paths[0], "-F", "-n", filepath.Join(d.Dir, "work"), "-f", filepath.Join(d.Dir, "varnish.vcl"),
		"-j", "none", // the bench's folder is open to nobody else
		"-a", sock+",PROXY",
		"-s", "malloc,512M",
		"-p", "feature=+http2",
		"-p", "thread_pools=1", // one per core, and it has one
		"-p", "thread_pool_min=200", // threads that are there need not be made
		"-p", fmt.Sprintf("thread_pool_max=%d", max(5000, 2*d.Connections)), // an HTTP/2 connection has one, idle or not
		"-p", "http_gzip_support=off", // nothing here can be compressed
		"-p", "timeout_idle=3600", // nothing is closed while it is measured: by default a client's connection is after 5 s
		"-p", "backend_idle_timeout=3600", // nor one to the upstream, which would be after a minute
		"-p", "idle_send_timeout=3600", // nor one whose client reads nothing for a minute, as on a busy machine
		"-p", "listen_depth=4096") // new connections that wait, as many as with all servers; by default 1,024
	all := []webProcess{
		{name: "varnishd", cmd: cache, ready: sock},
		{name: "hitch", cmd: exec.Command(paths[1], "--config="+filepath.Join(d.Dir, "hitch.conf"))},
	}
	if d.Log {
		all = append(all, webProcess{name: "varnishncsa", cmd: exec.Command(paths[2], "-n", filepath.Join(d.Dir, "work"), "-w", filepath.Join(d.Dir, "access.log"), "-t", "10")})
	}
	return all
}

// Version asks the server's programs for their versions; what is not there is a [load.MissingError].
func (p WebPeer) Version(ctx context.Context) (version string, err error) {
	paths, err := p.paths()
	if err != nil {
		return "", err
	}
	var all []string
	for i, program := range p.programs {
		out, err := exec.CommandContext(ctx, paths[i], program.version...).CombinedOutput()
		number := webVersion.FindString(string(out))
		if err == nil && number == "" {
			err = errNoWebVersion
		}
		if err != nil {
			return "", fmt.Errorf("peers: %s %s tells no version: %w", paths[i], strings.Join(program.version, " "), err)
		}
		switch {
		case i == 0:
			all = append(all, number)
		case program.name != "varnishncsa": // which is Varnish's own
			all = append(all, program.name+" "+number)
		}
	}
	return strings.Join(all, " with "), nil
}

var (
	webVersion      = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)
	errNoWebVersion = errors.New("is it the program of that name?")
)

// Packages of Debian that have the server.
func (p WebPeer) Packages() (names []string) {
	for _, program := range p.programs {
		names = append(names, program.debian)
	}
	return names
}

func (p WebPeer) paths() (paths []string, err error) {
	for _, program := range p.programs {
		path, err := find(program.name, program.debian)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Start starts the server with what is in web/ for it.
func (p WebPeer) Start(ctx context.Context, b *Bench) (*WebServer, error) {
	paths, err := p.paths()
	if err != nil {
		return nil, err
	}
	version, err := p.Version(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := b.folder(p.Name)
	if err != nil {
		return nil, err
	}
	s := &WebServer{Name: p.Name, Version: version, Addr: b.at(fmt.Sprintf(".3.%d", p.number), WebPort), folder: dir}
	d := b.data(dir, s.Addr)
	if err := fill(path.Join("web", p.Name), d); err != nil {
		return nil, err
	}
	for _, name := range p.folders {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, fmt.Errorf("peers: make a folder: %w", err)
		}
	}
	if err := freeTCP(s.Addr); err != nil {
		return nil, fmt.Errorf("peers: start %s: %w", p.Name, err)
	}
	for _, one := range p.processes(d, paths) {
		one.cmd.Dir = dir
		ready := listening("tcp", s.Addr.String())
		if one.ready != "" {
			ready = listening("unix", one.ready)
		}
		if one.file {
			out, err := os.OpenFile(filepath.Join(dir, "access.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				s.Stop()
				return nil, fmt.Errorf("peers: start %s: %w", p.Name, err)
			}
			defer out.Close()
			one.cmd.Stdout = out
		}
		if err := s.run(ctx, b, one.name, true, one.cmd, ready); err != nil {
			s.Stop()
			return nil, err
		}
	}
	return s, nil
}

// data is what a server's configuration says.
func (b *Bench) data(dir string, at netip.AddrPort) webData {
	return webData{
		Dir: dir, Host: WebName, IP: at.Addr().String(), Port: int(at.Port()), Address: at.String(),
		Upstream: b.Upstream.String(), UpstreamIP: b.Upstream.Addr().String(), UpstreamPort: fmt.Sprint(b.Upstream.Port()),
		Cert: b.Certificate.Cert, Key: b.Certificate.Key, Pair: b.Certificate.Pair, Objects: b.Objects,
		// To each connection of a client belongs one to the upstream, and some are for others.
		Connections: 2*b.Connections + 1000, Files: b.Files(),
		Log: b.Log, Root: os.Geteuid() == 0,
	}
}

// fill writes the files of a folder of web/ into the server's.
func fill(from string, d webData) error {
	entries, err := fs.ReadDir(webFiles, from)
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	for _, e := range entries {
		text, err := webFiles.ReadFile(path.Join(from, e.Name()))
		if err != nil {
			return fmt.Errorf("peers: %w", err)
		}
		t, err := template.New(e.Name()).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return fmt.Errorf("peers: %w", err)
		}
		var out bytes.Buffer
		if err := t.Execute(&out, d); err != nil {
			return fmt.Errorf("peers: %w", err)
		}
		if err := os.WriteFile(filepath.Join(d.Dir, e.Name()), out.Bytes(), 0o600); err != nil {
			return fmt.Errorf("peers: %w", err)
		}
	}
	return nil
}
