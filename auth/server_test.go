package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
)

// connect returns both ends' view of a TLS connection; the client shows a
// certificate of "anna".
func connect(t testing.TB, version uint16) (client tls.ConnectionState, server auth.Conn) {
	t.Helper()
	certificate := func(name string) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
			DNSNames:    []string{"mail.example.com"},
			NotAfter:    time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
			IsCA:        true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	ours, theirs := certificate("server"), certificate("anna")
	clients, servers := x509.NewCertPool(), x509.NewCertPool()
	clients.AddCert(theirs.Leaf)
	servers.AddCert(ours.Leaf)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{
		Certificates: []tls.Certificate{ours}, ClientCAs: clients,
		ClientAuth: tls.VerifyClientCertIfGiven, MaxVersion: version,
	})
	c := tls.Client(
		b,
		&tls.Config{
			RootCAs: servers, ServerName: "mail.example.com",
			Certificates: []tls.Certificate{theirs},
		},
	)
	done := make(chan error, 1)
	go func() {
		err := c.Handshake()
		if err == nil {
			go c.Read(make([]byte, 1)) // session tickets
		}
		done <- err
	}()
	if err := errors.Join(s.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	state := s.ConnectionState()
	return c.ConnectionState(), auth.Conn{
		TLS: &state, Certificate: ours.Leaf, Remote: netip.MustParseAddrPort("192.0.2.1:4711"),
	}
}

// people are users who all have the password or token "secret", for every
// mechanism.
func people(t testing.TB, names ...string) *auth.Server {
	t.Helper()
	keys, err := auth.SCRAMKeys("secret", []byte("0123456789abcdef"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{}
	for _, name := range names {
		passwords[name] = "secret"
	}
	return &auth.Server{
		Passwords: auth.Static(passwords),
		SCRAM: auth.SCRAMStoreFunc(func(
			_ context.Context, c auth.Proof,
		) (string, *auth.Identity, error) {
			if !slices.Contains(names, c.Username) {
				return "", nil, auth.ErrBadCredentials
			}
			return keys, &auth.Identity{User: c.Username}, nil
		}),
		SCRAMIterations: 4096,
		Tokens: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Token != "secret" || c.Password != "" ||
				c.Username != "" && c.Username != names[0] {
				return nil, auth.ErrBadCredentials
			}
			return &auth.Identity{User: names[0]}, nil
		}),
		Certificates: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			user := c.TLS.VerifiedChains[0][0].Subject.CommonName
			if c.Username != "" && c.Username != user {
				return nil, auth.ErrBadCredentials
			}
			return &auth.Identity{User: user}, nil
		}),
	}
}

func TestMechanisms(t *testing.T) {
	t.Parallel()
	_, conn := connect(t, tls.VersionTLS13)
	all := people(t, "anna")
	noCertificate := *conn.TLS
	noCertificate.VerifiedChains = nil
	for _, tt := range []struct {
		name   string
		server *auth.Server
		conn   auth.Conn
		want   string
	}{
		{
			"all", all, conn,
			"EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN",
		},
		{"no TLS", all, auth.Conn{}, "SCRAM-SHA-256"},
		{
			"no TLS, insecure", all, auth.Conn{InsecurePlaintext: true},
			"SCRAM-SHA-256 PLAIN LOGIN",
		},
		{
			"no client certificate", all, auth.Conn{TLS: &noCertificate},
			"SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN",
		},
		{
			"allowed", all,
			auth.Conn{TLS: conn.TLS, Allowed: []auth.Mechanism{auth.Login, auth.External, "X"}},
			"EXTERNAL LOGIN",
		},
		{"none allowed", all, auth.Conn{TLS: conn.TLS, Allowed: []auth.Mechanism{}}, ""},
		{"passwords", &auth.Server{Passwords: all.Passwords}, conn, "PLAIN LOGIN"},
		{"tokens", &auth.Server{Tokens: all.Tokens}, conn, "OAUTHBEARER XOAUTH2"},
		{"none", &auth.Server{}, conn, ""},
	} {
		got := tt.server.Mechanisms(tt.conn)
		var words []string
		for _, m := range got {
			words = append(words, string(m))
		}
		if list := strings.Join(words, " "); list != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, list, tt.want)
		}
		for _, m := range []auth.Mechanism{
			auth.External, auth.ScramSHA256Plus, auth.ScramSHA256, auth.OAuthBearer, auth.XOAuth2,
			auth.Plain, auth.Login, "CRAM-MD5", "",
		} {
			x, err := tt.server.Begin(m, tt.conn)
			if slices.Contains(got, m) != (err == nil) ||
				(x == nil) != errors.Is(err, auth.ErrMechanism) {
				t.Errorf("%s: beginning %s: %v", tt.name, m, err)
			}
		}
	}
}

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

// The dialogue of RFC 7677 section 3.
func TestSCRAMVector(t *testing.T) {
	t.Parallel()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.SCRAMKeys("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	// As PostgreSQL writes them.
	if want := "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="; keys != want {
		t.Errorf("keys %s", keys)
	}
	s := &auth.Server{SCRAM: auth.SCRAMStoreFunc(func(
		_ context.Context, c auth.Proof,
	) (string, *auth.Identity, error) {
		return keys, &auth.Identity{User: c.Username}, nil
	})}
	s.SetNonce("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
	const (
		c1 = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
		s1 = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
			"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		c2 = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
			"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		s2 = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	for _, tt := range []struct {
		messages []string
		want     string
	}{
		{[]string{c1, c2, ""}, s1 + " | " + s2 + " | yes user"},
		{[]string{none, c1, c2, "", ""}, " | " + s1 + " | " + s2 + " | yes user | syntax"},
		{[]string{c1, c2, "x"}, s1 + " | " + s2 + " | syntax"},
		{[]string{c1, strings.Replace(c2, "p=d", "p=e", 1)}, s1 + " | no"},
		{[]string{c1, strings.Replace(c2, "c=biws", "c=eSws", 1)}, s1 + " | no"},
		{[]string{c1, strings.Replace(c2, "r=r", "r=s", 1)}, s1 + " | no"},
		{[]string{c1, "c=biws,r=x,p="}, s1 + " | no"},
		{[]string{c1, "c=biws"}, s1 + " | syntax"},
		{[]string{c1, ""}, s1 + " | syntax"},
		{
			[]string{
				strings.Replace(c1, "n,,", "n,a=root,", 1),
				strings.Replace(c2, "c=biws", "c=bixhPXJvb3Qs", 1),
			},
			s1 + " | no",
		},
	} {
		if got := converse(t, s, auth.ScramSHA256, auth.Conn{}, tt.messages...); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.messages, got, tt.want)
		}
	}
}

// logOn is a client that knows SCRAM.
func logOn(
	t *testing.T, s *auth.Server, m auth.Mechanism, conn auth.Conn, talk *scram.ClientConversation,
) error {
	t.Helper()
	x, err := s.Begin(m, conn)
	if err != nil {
		return err
	}
	challenge := []byte{}
	for {
		response, err := talk.Step(string(challenge))
		if err != nil {
			t.Errorf("client: %v", err)
			return err
		}
		var done bool
		if challenge, done, err = x.Next(t.Context(), []byte(response)); err != nil {
			return err
		}
		if done {
			if !talk.Valid() {
				t.Error("the server has not proved that it knows the keys")
			}
			if x.Identity().User != x.User() {
				t.Errorf("%+v is not %s", x.Identity(), x.User())
			}
			return nil
		}
	}
}

func TestSCRAM(t *testing.T) {
	t.Parallel()
	s := people(t, "anna", "über", "a=b,c", "=2C")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		state, conn := connect(t, version)
		exporter, err := scram.NewTLSExporterBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		endpoint, err := scram.NewTLSServerEndpointBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		middle, _ := connect(t, version) // what a client in front of an attacker sees
		wrongExporter, err := scram.NewTLSExporterBinding(&middle)
		if err != nil {
			t.Fatal(err)
		}
		wrongEndpoint, err := scram.NewTLSServerEndpointBinding(&middle)
		if err != nil {
			t.Fatal(err)
		}
		noPlus := conn
		noPlus.Allowed = []auth.Mechanism{auth.ScramSHA256}
		for _, user := range []struct {
			name, password string
			want           error
		}{
			{"anna", "secret", nil},
			{"u\u0308ber", "secret", nil},
			{"a=b,c", "secret", nil},
			{"=2C", "secret", nil},
			{"anna", "guess", auth.ErrBadCredentials},
			{"nobody", "secret", auth.ErrBadCredentials},
		} {
			client, err := scram.SHA256.NewClient(user.name, user.password, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, tt := range []struct {
				name      string
				mechanism auth.Mechanism
				conn      auth.Conn
				talk      *scram.ClientConversation
				want      error
			}{
				{"unbound", auth.ScramSHA256, conn, client.NewConversation(), user.want},
				{"without TLS", auth.ScramSHA256, auth.Conn{}, client.NewConversation(), user.want},
				{
					"exporter", auth.ScramSHA256Plus, conn,
					client.NewConversationWithChannelBinding(exporter), user.want,
				},
				{
					"end point", auth.ScramSHA256Plus, conn,
					client.NewConversationWithChannelBinding(endpoint), user.want,
				},
				{
					"exporter in the middle", auth.ScramSHA256Plus, conn,
					client.NewConversationWithChannelBinding(wrongExporter), auth.ErrBadCredentials,
				},
				{
					"end point in the middle", auth.ScramSHA256Plus, conn,
					client.NewConversationWithChannelBinding(wrongEndpoint), auth.ErrBadCredentials,
				},
				{
					"downgrade", auth.ScramSHA256, conn,
					client.NewConversationAdvertisingChannelBinding(), auth.ErrBadCredentials,
				},
				{
					"no downgrade", auth.ScramSHA256, noPlus,
					client.NewConversationAdvertisingChannelBinding(), user.want,
				},
				{
					"bound without need", auth.ScramSHA256, conn,
					client.NewConversationWithChannelBinding(exporter), auth.ErrSyntax,
				},
			} {
				if err := logOn(t, s, tt.mechanism, tt.conn, tt.talk); !errors.Is(err, tt.want) ||
					tt.want == nil && err != nil {
					t.Errorf(
						"%s with %s, %s, %s: %v, want %v", user.name, user.password,
						tls.VersionName(version), tt.name, err, tt.want,
					)
				}
			}
		}
	}
}

// Nobody learns who exists from the first challenge.
func TestSCRAMUnknownUser(t *testing.T) {
	t.Parallel()
	challenge := func(s *auth.Server, user string) (salt, count string) {
		got := converse(t, s, auth.ScramSHA256, auth.Conn{}, "n,,n="+user+",r=x")
		fields := strings.Split(got, ",")
		if len(fields) != 3 || !strings.HasPrefix(fields[0], "r=x") || len(fields[0]) < 20 {
			t.Fatalf("%s: %s", user, got)
		}
		return fields[1], fields[2]
	}
	s, other := people(t, "anna"), people(t, "anna")
	s.SCRAMSecret, other.SCRAMSecret = []byte("shared"), []byte("shared")
	known, count := challenge(s, "anna")
	seen := map[string]string{known: "anna"}
	for _, user := range []string{"nobody", "Anna", "\x7f", ""} {
		salt, n := challenge(s, user)
		again, _ := challenge(s, user)
		elsewhere, _ := challenge(other, user)
		if n != count || len(salt) != len(known) || salt != again || salt != elsewhere ||
			seen[salt] != "" {
			t.Errorf("%q: %s, %s, %s, %s", user, salt, again, elsewhere, n)
		}
		seen[salt] = user
	}
	var zero auth.Server
	zero.SCRAM = s.SCRAM
	salt, n := challenge(&zero, "nobody")
	if again, _ := challenge(&zero, "nobody"); again != salt || n != "i=15000" {
		t.Errorf("%s, %s, %s", salt, again, n)
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

// Guesses are slowed down whatever the mechanism.
func TestServerThrottle(t *testing.T) {
	t.Parallel()
	_, conn := connect(t, tls.VersionTLS13)
	for _, m := range []auth.Mechanism{
		auth.Plain, auth.Login, auth.OAuthBearer, auth.XOAuth2, auth.ScramSHA256,
		auth.ScramSHA256Plus, auth.External,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := people(t, "anna")
			s.Throttle = auth.NewThrottle(nil)
			var last error
			for i := range 50 {
				x, err := s.Begin(m, conn)
				if err != nil {
					t.Fatal(err)
				}
				last = guess(t, x, m, i)
				if last == nil {
					t.Fatalf("%s: guessed", m)
				}
			}
			if _, ok := errors.AsType[*auth.ThrottledError](last); !ok {
				t.Errorf("%s: %v", m, last)
			}
		})
	}
}

// guess makes one attempt that fails.
func guess(t *testing.T, x *auth.Exchange, m auth.Mechanism, i int) error {
	t.Helper()
	ask := func(message string) (string, error) {
		challenge, done, err := x.Next(t.Context(), []byte(message))
		if done {
			t.Fatalf("%s: %q did it", m, message)
		}
		return string(challenge), err
	}
	switch m {
	case auth.Plain:
		_, err := ask(fmt.Sprint("\x00anna\x00guess", i))
		return err
	case auth.Login:
		ask("anna")
		_, err := ask(fmt.Sprint("guess", i))
		return err
	case auth.External:
		_, err := ask("root")
		return err
	case auth.OAuthBearer, auth.XOAuth2:
		message := fmt.Sprintf("user=anna\x01auth=Bearer guess%d\x01\x01", i)
		if m == auth.OAuthBearer {
			message = fmt.Sprintf("n,,\x01auth=Bearer guess%d\x01\x01", i)
		}
		if _, err := ask(message); err != nil {
			return err
		}
		_, err := ask("\x01")
		return err
	}
	header, bound := "n,,", ""
	if m == auth.ScramSHA256Plus {
		header, bound = "p=tls-exporter,,", "wrong"
	}
	challenge, err := ask(header + "n=anna,r=x")
	if err != nil {
		return err
	}
	nonce, _, _ := strings.Cut(challenge, ",")
	b64 := base64.StdEncoding.EncodeToString
	_, err = ask("c=" + b64([]byte(header+bound)) + "," + nonce + ",p=" + b64(make([]byte, 32)))
	return err
}

func TestNewSCRAMKeys(t *testing.T) {
	t.Parallel()
	a, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		t.Fatal(err)
	}
	b, err := auth.NewSCRAMKeys("secret")
	if a == b || err != nil || !strings.HasPrefix(a, "SCRAM-SHA-256$15000:") {
		t.Errorf("%s, %s, %v", a, b, err)
	}
	for _, password := range []string{"", "hunter2\x00"} {
		if _, err := auth.NewSCRAMKeys(password); err == nil ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", password, err)
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
