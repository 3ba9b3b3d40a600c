package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
)

// none is the message of a client that sends no initial response.
const none = "\x00none"

// converse sends messages and returns all challenges, the last followed by the
// outcome.
func converse(
	t *testing.T, s *auth.Server, m auth.Mechanism, conn auth.Conn, messages ...string,
) string {
	t.Helper()
	x, err := s.Begin(m, conn)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	over := false
	for _, message := range messages {
		response := []byte(message)
		if message == none {
			response = nil
		}
		challenge, done, err := x.Next(t.Context(), response)
		if (done || err != nil) && challenge != nil || !done && err == nil && challenge == nil ||
			done && err != nil {
			t.Errorf("%s: %q, %v, %v", m, challenge, done, err)
		}
		switch {
		case done:
			out = append(out, "yes "+x.Identity().User)
		case errors.Is(err, auth.ErrBadCredentials):
			out = append(out, "no")
		case errors.Is(err, auth.ErrSyntax):
			out = append(out, "syntax")
		case err != nil:
			out = append(out, err.Error())
		default:
			out = append(out, string(challenge))
		}
		over = over || done
		if !over && x.Identity() != nil {
			t.Errorf("%s: %+v before the end", m, x.Identity())
		}
	}
	return strings.Join(out, " | ")
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	_, conn := connect(t, tls.VersionTLS13)
	s := people(t, "anna", "über", "a=b,c")
	s.TokenScope, s.OpenIDConfiguration = "mail", "https://id.example/.well-known/openid-configuration"
	bearerNo := `{"openid-configuration":"https://id.example/.well-known/openid-configuration","scope":"mail","status":"invalid_token"}`
	xoauthNo := `{"schemes":"bearer","scope":"mail","status":"401"}`
	for _, tt := range []struct {
		mechanism auth.Mechanism
		messages  []string
		want      string
	}{
		{auth.Plain, []string{"\x00anna\x00secret"}, "yes anna"},
		{auth.Plain, []string{none, "\x00anna\x00secret"}, " | yes anna"},
		{auth.Plain, []string{"anna\x00anna\x00secret"}, "yes anna"},
		{auth.Plain, []string{"\x00u\u0308ber\x00secret"}, "yes über"},
		{auth.Plain, []string{"u\u0308ber\x00über\x00secret"}, "yes über"},
		{auth.Plain, []string{"root\x00anna\x00secret"}, "no"},
		{auth.Plain, []string{"\x01\x00anna\x00secret"}, "no"},
		{auth.Plain, []string{"\x00anna\x00guess"}, "no"},
		{auth.Plain, []string{"\x00nobody\x00secret"}, "no"},
		{auth.Plain, []string{"\x00anna\x7f\x00secret"}, "no"},
		{auth.Plain, []string{"\x00\x00secret"}, "no"},
		{auth.Plain, []string{"\x00anna\x00"}, "no"},
		{auth.Plain, []string{""}, "syntax"},
		{auth.Plain, []string{"anna\x00secret"}, "syntax"},
		{auth.Plain, []string{"\x00anna\x00sec\x00ret"}, "syntax"},
		{auth.Plain, []string{strings.Repeat("x", 10_000)}, "syntax"},
		{auth.Plain, []string{"\x00anna\x00guess", "\x00anna\x00secret"}, "no | syntax"},
		{auth.Login, []string{none, "anna", "secret"}, "Username: | Password: | yes anna"},
		{auth.Login, []string{"anna", "secret"}, "Password: | yes anna"},
		{auth.Login, []string{"anna", "guess", "secret"}, "Password: | no | syntax"},
		{auth.Login, []string{"", ""}, "Password: | no"},
		{auth.External, []string{""}, "yes anna"},
		{auth.External, []string{none, ""}, " | yes anna"},
		{auth.External, []string{"anna"}, "yes anna"},
		{auth.External, []string{"root"}, "no"},
		{auth.External, []string{"anna\n"}, "no"},
		{auth.External, []string{"anna\x00"}, "syntax"},

		// RFC 7628 sections 3.1 and 4
		{
			auth.OAuthBearer,
			[]string{
				"n,a=anna,\x01host=server.example.com\x01port=587\x01auth=Bearer secret\x01\x01",
			},
			"yes anna",
		},
		{auth.OAuthBearer, []string{none, "n,,\x01auth=bearer  secret\x01\x01"}, " | yes anna"},
		{auth.OAuthBearer, []string{"y,,\x01auth=Bearer secret\x01\x01"}, "yes anna"},
		{
			auth.OAuthBearer, []string{"n,a=root,\x01auth=Bearer secret\x01\x01", "\x01"},
			bearerNo + " | no",
		},
		{
			auth.OAuthBearer, []string{"n,,\x01auth=Bearer guess\x01\x01", "\x01"},
			bearerNo + " | no",
		},
		{auth.OAuthBearer, []string{"n,,\x01auth=\x01\x01", ""}, bearerNo + " | no"},
		{auth.OAuthBearer, []string{"n,,\x01\x01", ""}, bearerNo + " | no"},
		{auth.OAuthBearer, []string{"n,,\x01", ""}, "syntax | syntax"},
		{auth.OAuthBearer, []string{"p=tls-exporter,,\x01auth=Bearer secret\x01\x01"}, "syntax"},
		{auth.OAuthBearer, []string{"n,anna,\x01auth=Bearer secret\x01\x01"}, "syntax"},
		{auth.OAuthBearer, []string{"n,a=an=3xna,\x01auth=Bearer secret\x01\x01"}, "syntax"},
		{auth.OAuthBearer, []string{"n,,x\x01auth=Bearer secret\x01\x01"}, "syntax"},
		{auth.OAuthBearer, []string{"n,,\x01auth=Bearer secret\x01"}, "syntax"},
		{
			auth.OAuthBearer, []string{"n,,\x01auth=Bearer secret\x01auth=Bearer secret\x01\x01"},
			"syntax",
		},
		{auth.OAuthBearer, []string{"n,,\x01auth=Basic secret\x01\x01"}, "syntax"},
		{auth.OAuthBearer, []string{"n,,\x01auth=Bearer sec ret\x01\x01"}, "syntax"},
		{auth.OAuthBearer, []string{"n,,\x01auth2=x\x01\x01"}, "syntax"},
		{auth.OAuthBearer, []string{""}, "syntax"},
		{auth.XOAuth2, []string{"user=anna\x01auth=Bearer secret\x01\x01"}, "yes anna"},
		{auth.XOAuth2, []string{none, "user=anna\x01auth=Bearer secret\x01\x01"}, " | yes anna"},
		{auth.XOAuth2, []string{"user=anna\x01auth=Bearer guess\x01\x01", ""}, xoauthNo + " | no"},
		{auth.XOAuth2, []string{"user=root\x01auth=Bearer secret\x01\x01", ""}, xoauthNo + " | no"},
		{auth.XOAuth2, []string{"user=\x01auth=Bearer secret\x01\x01", ""}, "syntax | syntax"},
		{auth.XOAuth2, []string{"auth=Bearer secret\x01\x01"}, "syntax"},

		{auth.ScramSHA256, []string{"n,,n=anna"}, "syntax"},
		{auth.ScramSHA256, []string{"n,,n=a=3xnna,r=x"}, "syntax"},
		{auth.ScramSHA256, []string{"n,,m=x,n=anna,r=x"}, "syntax"},
		{auth.ScramSHA256, []string{"p=tls-exporter,,n=anna,r=x"}, "syntax"},
		{auth.ScramSHA256, []string{"y,,n=anna,r=x"}, "no"}, // -PLUS was offered
		{auth.ScramSHA256Plus, []string{"n,,n=anna,r=x"}, "syntax"},
		{auth.ScramSHA256Plus, []string{"y,,n=anna,r=x"}, "syntax"},
		{auth.ScramSHA256Plus, []string{"p=tls-unique,,n=anna,r=x"}, "no"},
		{auth.ScramSHA256Plus, []string{"p=x,,n=anna,r=x"}, "no"},
		{auth.ScramSHA256, []string{strings.Repeat("x", 5000)}, "syntax"},
	} {
		if got := converse(t, s, tt.mechanism, conn, tt.messages...); got != tt.want {
			t.Errorf("%s %q:\n got %s\nwant %s", tt.mechanism, tt.messages, got, tt.want)
		}
	}
}

func TestServerFaults(t *testing.T) {
	t.Parallel()
	_, conn := connect(t, tls.VersionTLS13)
	down := errors.New("down")
	v := auth.VerifierFunc(func(_ context.Context, c auth.Proof) (*auth.Identity, error) {
		if c.Username == "anna" {
			return nil, nil
		}
		return nil, down
	})
	s := &auth.Server{
		Passwords: v, Tokens: v, Certificates: v,
		SCRAM: auth.SCRAMStoreFunc(func(
			_ context.Context, c auth.Proof,
		) (string, *auth.Identity, error) {
			switch c.Username {
			case "anna":
				return "", nil, nil
			case "bert":
				return "SCRAM-SHA-256$1:secret", &auth.Identity{}, nil
			}
			return "", nil, down
		}),
	}
	for _, tt := range []struct {
		mechanism auth.Mechanism
		message   string
		want      string
	}{
		{auth.Plain, "\x00carl\x00x", "down"},
		{auth.XOAuth2, "user=carl\x01auth=Bearer x\x01\x01", "down"},
		{auth.External, "", "down"},
		{auth.ScramSHA256, "n,,n=carl,r=x", "down"},
		{auth.Plain, "\x00anna\x00x", "auth: the verifier gave no identity"},
		{auth.ScramSHA256, "n,,n=anna,r=x", "auth: the verifier gave no identity"},
		{auth.ScramSHA256, "n,,n=bert,r=x", `auth: user "bert": malformed SCRAM keys`},
	} {
		if got := converse(t, s, tt.mechanism, conn, tt.message); got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.mechanism, tt.message, got, tt.want)
		}
	}
}

func FuzzExchange(f *testing.F) {
	f.Add("PLAIN", []byte("\x00anna\x00secret"), []byte(""))
	f.Add("LOGIN", []byte("anna"), []byte("secret"))
	f.Add(
		"OAUTHBEARER", []byte("n,a=anna,\x01host=x\x01auth=Bearer secret\x01\x01"), []byte("\x01"),
	)
	f.Add("XOAUTH2", []byte("user=anna\x01auth=Bearer secret\x01\x01"), []byte(""))
	f.Add(
		"SCRAM-SHA-256", []byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
		[]byte("c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzb"),
	)
	f.Add("SCRAM-SHA-256-PLUS", []byte("p=tls-exporter,,n=user,r=x"), []byte("c=biws,r=x,p=dHzb"))
	f.Add("EXTERNAL", []byte("anna"), []byte(""))
	_, conn := connect(f, tls.VersionTLS13)
	s := people(f, "anna")
	f.Fuzz(func(t *testing.T, mechanism string, first, second []byte) {
		x, err := s.Begin(auth.Mechanism(mechanism), conn)
		if err != nil {
			return
		}
		for _, message := range [][]byte{first, second, {}, {}} {
			challenge, done, err := x.Next(t.Context(), message)
			if err != nil || done {
				if challenge != nil || done && x.Identity() == nil ||
					err != nil && x.Identity() != nil {
					t.Fatalf("%q, %v, %v, %+v", challenge, done, err, x.Identity())
				}
				break
			}
			if challenge == nil || x.Identity() != nil {
				t.Fatalf("%q, %+v", challenge, x.Identity())
			}
		}
		if strings.ContainsFunc(x.User(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("user %q", x.User())
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	_, conn := connect(b, tls.VersionTLS13)
	s := people(b, "anna")
	b.Run("PLAIN", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x, err := s.Begin(auth.Plain, conn)
			if err != nil {
				b.Fatal(err)
			}
			if _, done, err := x.Next(b.Context(), []byte("\x00anna\x00secret")); !done {
				b.Fatal(err)
			}
		}
	})
	client, err := scram.SHA256.NewClient("anna", "secret", "")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("SCRAM", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x, err := s.Begin(auth.ScramSHA256, conn)
			if err != nil {
				b.Fatal(err)
			}
			talk, challenge, done := client.NewConversation(), []byte{}, false
			for !done {
				response, err := talk.Step(string(challenge))
				if err != nil {
					b.Fatal(err)
				}
				if challenge, done, err = x.Next(b.Context(), []byte(response)); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("Mechanisms", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Mechanisms(conn)
		}
	})
}

// A question to the application goes through Ask, and what is answered after
// Ask has returned is nobody's.
func TestAskMayGiveUp(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	v := auth.VerifierFunc(func(_ context.Context, p auth.Proof) (*auth.Identity, error) {
		return &auth.Identity{User: "anna"}, nil
	})
	s := &auth.Server{
		Passwords: v, Tokens: v, Certificates: v,
		SCRAM: auth.SCRAMStoreFunc(func(context.Context, auth.Proof) (
			string, *auth.Identity, error,
		) {
			return "", nil, errors.New("asked")
		}),
	}
	state := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}
	for m, message := range map[auth.Mechanism]string{
		auth.Plain:       "\x00anna\x00secret",
		auth.OAuthBearer: "n,,\x01auth=Bearer secret\x01\x01",
		auth.External:    "",
		auth.ScramSHA256: "n,,n=anna,r=nonce",
	} {
		asked := 0
		x, err := s.Begin(m, auth.Conn{TLS: state, Ask: func(
			_ context.Context, question func() error,
		) error {
			asked++
			_ = question()
			return gone
		}})
		if err != nil {
			t.Fatal(m, err)
		}
		_, _, err = x.Next(t.Context(), []byte(message))
		if !errors.Is(err, gone) || x.Identity() != nil || asked != 1 {
			t.Errorf("%s: %v, %v, asked %d times", m, err, x.Identity(), asked)
		}
	}
}
