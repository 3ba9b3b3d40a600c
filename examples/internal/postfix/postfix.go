// Package postfix runs a Postfix beside the system's own, with its queue and
// configuration in a folder of the caller's. Postfix starts as root only.
package postfix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/nameserver"
)

// Config says what to run.
type Config struct {
	// Dir is an empty folder that everybody may enter: Postfix's processes give
	// up root.
	Dir string
	// Main is added to main.cf.
	Main string
	// Listeners are SMTP servers by address. Each has settings of its own, as
	// "key = value".
	Listeners map[string][]string
	// Clients are SMTP clients by name, for transport_maps and the like, with
	// their own settings.
	Clients map[string][]string
	// Resolver is a file for the place of /etc/resolv.conf. Defaults to the
	// system's.
	Resolver string
	// Log takes the log. Defaults to the system's, which need not exist.
	Log io.Writer
}

// Server is a running Postfix.
type Server struct {
	// Master is the process that the others descend from.
	Master int

	cmd  *exec.Cmd
	life io.Closer // closed to end it
}

const mainCf = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
myhostname = postfix.example.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
`

// masterCf is Debian's, without chroot and without what only local mail needs.
const masterCf = `pickup unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
local     unix - n n - - local
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
tlsproxy  unix - - n - 0 tlsproxy
`

// keeper ends Postfix when its standard input is closed, also by the death of
// who started it. What has hardly begun cannot be aborted yet.
const keeper = `postfix -c "$0" start-fg </dev/null & script=$!; read -r _
tries=0
until postfix -c "$0" abort || [ $tries = 50 ]; do sleep 0.1; tries=$((tries+1)); done
kill $script; wait`

// Start returns when every listener answers. The server runs until it is
// stopped, whatever happens to ctx then.
func Start(ctx context.Context, c Config) (*Server, error) {
	config := filepath.Join(c.Dir, "config")
	for _, d := range []string{config, filepath.Join(c.Dir, "queue")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	main, master := fmt.Sprintf(mainCf, c.Dir)+c.Main, masterCf
	if c.Log == nil {
		c.Log = io.Discard
	} else {
		main += "maillog_file = /dev/stdout\n"
		master += "postlog unix-dgram n - n - 1 postlogd\n"
	}
	for _, addr := range slices.Sorted(maps.Keys(c.Listeners)) {
		master += service(addr+" inet n - n - - smtpd", c.Listeners[addr])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Clients)) {
		master += service(name+" unix - - n - - smtp", c.Clients[name])
	}
	files := map[string]string{"main.cf": main, "master.cf": master}
	// Debian maps the tables' types to shared objects here.
	if maps, err := os.ReadFile("/etc/postfix/dynamicmaps.cf"); err == nil {
		files["dynamicmaps.cf"] = string(maps)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(config, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	s := &Server{cmd: exec.Command("sh", "-c", keeper, config)}
	if c.Resolver != "" {
		s.cmd = nameserver.Command(c.Resolver, "sh", "-c", keeper, config)
	}
	// By a pipe, never a file: it ends when the last of the processes has
	// ended.
	s.cmd.Stdout = struct{ io.Writer }{c.Log}
	s.cmd.Stderr = s.cmd.Stdout
	s.cmd.WaitDelay = time.Minute
	life, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.life = life
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.await(ctx, c); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func service(line string, settings []string) string {
	for _, s := range settings {
		line += "\n    -o { " + s + " }"
	}
	return line + "\n"
}

func (s *Server) await(ctx context.Context, c Config) error {
	for addr := range c.Listeners {
		if err := loopback.Await(ctx, addr); err != nil {
			return err
		}
	}
	pid, err := os.ReadFile(filepath.Join(c.Dir, "queue", "pid", "master.pid"))
	if err == nil {
		s.Master, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	}
	return err
}

// Stop ends Postfix at once; it returns when the last of its processes has
// ended.
func (s *Server) Stop() error {
	s.life.Close()
	return s.cmd.Wait()
}
