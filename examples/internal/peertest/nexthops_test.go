package peertest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// taken is what a next hop took.
type taken struct {
	From    string
	To      []string
	Options []string // of MAIL
	TLS     bool
	User    string
	Content []byte
}

// hop is a next hop that others wrote. Messages are by their first recipient.
type hop struct {
	inbox[taken]
}

// startHop runs one until the test ends, and waits until it listens.
func startHop(t *testing.T, port string, j *job, name, file string) *hop {
	t.Helper()
	h := &hop{}
	j.Port, _ = strconv.Atoi(port)
	cmd := exec.Command(name, file, j.text())
	life, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var m taken
			if err := json.Unmarshal(line, &m); err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			h.at(m.To[0]) <- m
		}
	}()
	t.Cleanup(func() {
		life.Close()
		<-read
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", file, log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp4", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			return h
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v\n%s", file, err, log.String())
		}
	}
}

// TestNextHops sends to servers that others wrote, in the clear, and with TLS
// and a logon.
func TestNextHops(t *testing.T) {
	t.Parallel()
	next := newSink(t)
	servers := []struct{ name, program, file string }{
		{"aiosmtpd", "/usr/bin/python3", "testdata/hop.py"},
		{"smtp-server", "node", "node/hop.js"},
	}
	dir := t.TempDir()
	mailtest.Write(t, dir+"/password", "hop secret\n")
	ports, more := map[string]string{}, ""
	for _, s := range servers {
		for _, way := range []string{"clear", "tls"} {
			id := s.name + "." + way
			ports[id] = freePort(t)
			more += fmt.Sprintf("[[send_connector]]\nname = %q\naddress_spaces = [%q]\n"+
				"smart_hosts = [\"localhost:%s\"]\n", id, id+".test;1", ports[id])
			if way == "tls" {
				more += fmt.Sprintf("tls = \"DomainValidation\"\ntls_domain = \"localhost\"\n"+
					"username = \"hop\"\npassword_file = %q\n", dir+"/password")
			}
		}
	}
	g := start(t, next, more)
	for _, s := range servers {
		for _, way := range []string{"clear", "tls"} {
			id := s.name + "." + way
			t.Run(id, func(t *testing.T) {
				j := &job{}
				if way == "tls" {
					j.User, j.Password = "hop", "hop secret"
					j.Certificate, j.Key = g.path("cert.pem"), g.path("key.pem")
				}
				testHop(t, g, startHop(t, ports[id], j, s.program, s.file), id, j.User)
			})
		}
	}
}

func testHop(t *testing.T, g *gateway, h *hop, id, user string) {
	send := func(t *testing.T, l letter) {
		t.Helper()
		post(t, "127.0.0.1:"+g.ports["relay"], l)
	}
	arrived := func(t *testing.T, l letter, to ...string) taken {
		t.Helper()
		m := h.next(t, to[0])
		if m.From != l.from || !slices.Equal(m.To, to) || m.TLS != (user != "") || m.User != user {
			t.Errorf("from %s to %v, TLS %v, user %q", m.From, m.To, m.TLS, m.User)
		}
		wantContent(t, m.Content, append(l.content, '\r', '\n'))
		return m
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			to := fmt.Sprintf("x%d@%s.test", size, id)
			l := letter{from: sender, to: []string{to}, content: message(sender, to, size)}
			send(t, l)
			arrived(t, l, to)
			g.next(t, "delivered "+to)
		})
	}
	t.Run("refused recipient", func(t *testing.T) {
		to := []string{"good@" + id + ".test", "bad@" + id + ".test"}
		l := letter{from: sender, to: to, content: message(sender, to[0], 1000)}
		send(t, l)
		arrived(t, l, to[0])
		g.next(t, "delivered "+to[0])
		if e := g.next(t, "bounced "+to[1]); e.Code != 550 {
			t.Errorf("bounced: %+v", e)
		}
	})
	t.Run("refused content", func(t *testing.T) {
		to := "content@" + id + ".test"
		send(t, letter{from: sender, to: []string{to}, content: message(sender, to, 1000)})
		if e := g.next(t, "bounced "+to); e.Code != 554 {
			t.Errorf("bounced: %+v", e)
		}
	})
	t.Run("SMTPUTF8", func(t *testing.T) {
		to := "gr\u00f6\u00dfe@" + id + ".test"
		l := letter{
			from: "k\u00e4se@example.org", to: []string{to}, mail: smtp.MailOptions{UTF8: true},
			content: message("k\u00e4se@example.org", to, 1000),
		}
		send(t, l)
		if m := arrived(t, l, to); !strings.Contains(strings.Join(m.Options, " "), "SMTPUTF8") {
			t.Errorf("options %v", m.Options)
		}
	})
	t.Run("many", func(t *testing.T) {
		for i := range 5 {
			to := fmt.Sprintf("m%d@%s.test", i, id)
			send(t, letter{from: sender, to: []string{to}, content: message(sender, to, 1000)})
		}
		for i := range 5 {
			h.next(t, fmt.Sprintf("m%d@%s.test", i, id))
		}
	})
}
