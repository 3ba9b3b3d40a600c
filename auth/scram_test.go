package auth_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
)

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
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" +
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" +
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if keys != want {
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
