package outbound_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/auth"
)

// smartHost is a next hop that takes mail from who has logged on, by the
// server's side of package auth.
type smartHost struct {
	auth.Server
	tls    *tls.Config // from the first octet; nil: in the clear
	hide   []string    // mechanisms not named in EHLO
	claims string      // mechanisms named in EHLO and not known
	hangUp bool        // after a refusal
	// lie changes what is said in the exchange, or ends it by a reply.
	lie func(mechanism, challenge string) string

	mu    sync.Mutex
	conns int
	tries []string // mechanisms asked for
}

// tried returns the mechanisms asked for since the last call, and how many
// connections there were.
func (s *smartHost) tried() (mechanisms string, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mechanisms, conns = strings.Join(s.tries, " "), s.conns
	s.tries, s.conns = nil, 0
	return mechanisms, conns
}

func (s *smartHost) serve(c net.Conn) {
	defer c.Close()
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	state := &tls.ConnectionState{}
	peer := auth.Conn{TLS: state, InsecurePlaintext: true}
	if s.tls != nil {
		tc := tls.Server(c, s.tls)
		if tc.Handshake() != nil {
			return
		}
		*state = tc.ConnectionState()
		peer.Certificate = s.tls.Certificates[0].Leaf
		c = tc
	}
	t := &talk{smartHost: s, r: bufio.NewReader(c), c: c, peer: peer}
	t.run()
}

// talk is one connection to a smartHost.
type talk struct {
	*smartHost
	r    *bufio.Reader
	c    net.Conn
	peer auth.Conn
	in   bool
}

func (t *talk) say(text string) { fmt.Fprintf(t.c, "%s\r\n", text) }

func (t *talk) hear() (string, bool) {
	line, err := t.r.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err == nil
}

func (t *talk) run() {
	t.say("220 mx")
	for {
		line, ok := t.hear()
		if !ok {
			return
		}
		switch verb, arg, _ := strings.Cut(line, " "); {
		case verb == "EHLO":
			t.say("250-mx")
			t.say("250 AUTH " + t.offer())
		case verb == "AUTH" && len(line) > 510:
			t.say("500 5.5.6 line too long")
		case verb == "AUTH":
			if !t.logOn(arg) && t.hangUp {
				return
			}
		case verb == "QUIT":
			return
		case !t.in:
			t.say("530 5.7.0 who are you?")
		case verb == "DATA":
			t.say("354 go on")
			for line != "." && ok {
				line, ok = t.hear()
			}
			t.say("250 2.0.0 taken")
		default:
			t.say("250 2.0.0 ok")
		}
	}
}

func (t *talk) offer() string {
	list := strings.Fields(t.claims)
	for _, m := range t.Mechanisms(t.peer) {
		if !strings.Contains(" "+strings.Join(t.hide, " ")+" ", " "+string(m)+" ") {
			list = append(list, string(m))
		}
	}
	return strings.Join(list, " ")
}

// logOn runs one exchange.
func (t *talk) logOn(arg string) bool {
	name, initial, given := strings.Cut(arg, " ")
	t.mu.Lock()
	t.tries = append(t.tries, name)
	t.mu.Unlock()
	x, err := t.Begin(auth.Mechanism(name), t.peer)
	if err != nil || strings.Contains(t.claims, name) {
		t.say("504 5.5.4 unknown mechanism")
		return false
	}
	var response []byte
	if given {
		response = decoded(initial)
	}
	for {
		challenge, done, err := x.Next(context.Background(), response)
		switch {
		case errors.Is(err, auth.ErrBadCredentials):
			t.say("535 5.7.8 no")
			return false
		case err != nil:
			t.say("501 5.5.2 what?")
			return false
		case done:
			t.say("235 2.7.0 ok")
			t.in = true
			return true
		}
		text := string(challenge)
		if t.lie != nil {
			text = t.lie(name, text)
		}
		if reply, ok := strings.CutPrefix(text, "reply "); ok {
			t.say(reply)
			return false
		}
		t.say("334 " + base64.StdEncoding.EncodeToString([]byte(text)))
		line, ok := t.hear()
		switch {
		case !ok:
			return false
		case line == "*":
			t.say("501 5.7.0 cancelled")
			return false
		}
		response = decoded(line)
	}
}

func decoded(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "="))
	if err != nil {
		panic(err)
	}
	return append([]byte{}, b...)
}

// takes is a verifier of one user, by one secret.
func takes(user, secret string) auth.Verifier {
	return auth.VerifierFunc(func(_ context.Context, p auth.Proof) (*auth.Identity, error) {
		if p.Username != user || p.Password+p.Token != secret {
			return nil, auth.ErrBadCredentials
		}
		return &auth.Identity{User: user}, nil
	})
}

// keysOf is a store of the keys of one user.
func keysOf(t *testing.T, user, password string) auth.SCRAMStore {
	t.Helper()
	keys, err := auth.NewSCRAMKeys(password)
	if err != nil {
		t.Fatal(err)
	}
	return auth.SCRAMStoreFunc(func(_ context.Context, p auth.Proof) (
		string, *auth.Identity, error,
	) {
		if p.Username != user {
			return "", nil, auth.ErrBadCredentials
		}
		return keys, &auth.Identity{User: user}, nil
	})
}

// verifierOf is a verifier of the token that is good now.
func verifierOf(good *atomic.Value) auth.Verifier {
	return auth.VerifierFunc(func(ctx context.Context, p auth.Proof) (*auth.Identity, error) {
		return takes("app", good.Load().(string)).Verify(ctx, p)
	})
}
