package peertest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// gsaslHost is a smart host that has GNU SASL decide on one mechanism, a SCRAM.
func gsaslHost(t *testing.T, mechanism string) (addr string) {
	return serve(t, func(c net.Conn, lines *bufio.Scanner) {
		say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
		say("220 gsasl.example.test")
		in, data := false, false
		for lines.Scan() {
			line := strings.TrimSuffix(lines.Text(), "\r")
			switch verb, _, _ := strings.Cut(line, " "); {
			case data:
				if data = line != "."; !data {
					say("250 2.0.0 taken")
				}
			case verb == "EHLO":
				say("250-gsasl.example.test")
				say("250 AUTH " + mechanism)
			case verb == "AUTH":
				if in = gsaslServer(t, mechanism, line, say, lines); in {
					say("235 2.7.0 ok")
				} else {
					say("535 5.7.8 no")
				}
			case !in && verb == "MAIL":
				say("530 5.7.0 who are you?")
			case verb == "DATA":
				data = true
				say("354 go on")
			default:
				say("250 2.0.0 ok")
			}
		}
	})
}

// gsaslServer hands an exchange to GNU SASL, and reports what it says in the
// end.
func gsaslServer(
	t *testing.T, mechanism, line string, say func(string), lines *bufio.Scanner,
) bool {
	cmd := exec.CommandContext(
		t.Context(), "gsasl", "--server", "--quiet", "--no-cb", "--mechanism="+mechanism,
		"--password="+password,
	)
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil || cmd.Start() != nil {
		t.Error("gsasl did not start")
		return false
	}
	said := bufio.NewScanner(stdout)
	said.Scan() // the mechanism
	said.Scan() // an empty challenge, for which the first message came with AUTH
	fmt.Fprintln(stdin, line[strings.LastIndexByte(line, ' ')+1:])
	for range 2 { // the salt, and the proof that the host knows the password too
		if !said.Scan() {
			break // refused
		}
		say("334 " + said.Text())
		if !lines.Scan() {
			break
		}
		fmt.Fprintln(stdin, strings.TrimSuffix(lines.Text(), "\r"))
	}
	stdin.Close()
	_, _ = io.Copy(io.Discard, stdout)
	return cmd.Wait() == nil
}

// TestGSASLAsSmartHost logs on to GNU SASL, with the right password and a wrong
// one.
func TestGSASLAsSmartHost(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		for secret, want := range map[string]int{password: 250, "wrong": 535} {
			t.Run(fmt.Sprint(mechanism, " ", want), func(t *testing.T) {
				t.Parallel()
				told := make(chan event.Event, 10)
				r, err := relay.New(relay.Config{
					Hostname: "relay.example.test", Spool: memspool.New(nil),
					SendConnectors: []*connector.SendConnector{{
						Name: "out", AddressSpaces: connector.AllDomains(),
						NextHop: connector.NextHop{
							Hosts: []string{gsaslHost(t, mechanism)}, TLS: connector.TLSNone,
							Username: user, Password: secret, AllowPlaintextAuth: true,
						},
					}},
					Events: func(e event.Event) {
						if e.Kind == event.Delivered || e.Kind == event.Deferred {
							told <- e
						}
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				mailtest.Run(t, r)
				if _, err := r.Submit(t.Context(), &relay.Message{
					From: user, To: []string{"bob@example.net"},
					Content: strings.NewReader("Subject: x\r\n\r\nhi\r\n"),
				}); err != nil {
					t.Fatal(err)
				}
				if e := <-told; e.Code != want {
					t.Errorf("%+v", e)
				}
			})
		}
	}
}
