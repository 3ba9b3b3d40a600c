package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postern-mail/postern/auth"
)

func ExampleIdentity_MaySendAs() {
	id := &auth.Identity{User: "app@example.com", Senders: []string{"*@news.example.com"}}
	fmt.Println(id.MaySendAs("app@example.com"))
	fmt.Println(id.MaySendAs("weekly@news.example.com"))
	fmt.Println(id.MaySendAs("ceo@example.com"))
	// Output:
	// true
	// true
	// false
}

func ExampleStatic() {
	v := auth.Static(map[string]string{"demo": "secret"})
	id, err := v.Verify(
		context.Background(), auth.Proof{Username: "demo", Password: "secret"},
	)
	fmt.Println(id.User, err)
	_, err = v.Verify(context.Background(), auth.Proof{Username: "demo", Password: "guess"})
	fmt.Println(err)
	// Output:
	// demo <nil>
	// auth: bad credentials
}

func ExampleVerifierFunc() {
	// The application's own users: here, a table that may be out of reach.
	find := func(ctx context.Context, user, password string) (found bool, err error) {
		return user == "anna" && password == "secret", nil
	}
	var v auth.Verifier = auth.VerifierFunc(func(
		ctx context.Context, c auth.Proof,
	) (*auth.Identity, error) {
		if err := c.Check(); err != nil {
			return nil, err
		}
		found, err := find(ctx, c.Username, c.Password)
		switch {
		case err != nil:
			return nil, err // the client is told to try again
		case !found:
			return nil, auth.ErrBadCredentials
		}
		return &auth.Identity{User: c.Username, Groups: []string{"staff"}}, nil
	})
	id, err := v.Verify(
		context.Background(), auth.Proof{Username: "anna", Password: "secret"},
	)
	fmt.Println(id.User, id.Groups, err)
	// Output: anna [staff] <nil>
}

func ExampleOpenHtpasswd() {
	dir, err := os.MkdirTemp("", "htpasswd")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "users")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "anna:%s\n", hash), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	v, err := auth.OpenHtpasswd(path, &auth.HtpasswdOptions{OnReloadError: func(err error) {
		slog.Error("users not read again", "error", err)
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := v.Verify(
		context.Background(), auth.Proof{Username: "anna", Password: "secret"},
	)
	fmt.Println(id.User, err)
	_, err = v.Verify(context.Background(), auth.Proof{Username: "bert", Password: "secret"})
	fmt.Println(errors.Is(err, auth.ErrBadCredentials))
	// Output:
	// anna <nil>
	// true
}

func ExampleProof() {
	c := auth.Proof{Mechanism: auth.Plain, Username: "anna", Password: "secret"}
	fmt.Println(c)
	// Output: PLAIN user "anna" from invalid AddrPort
}

func ExamplePrepareName() {
	name, err := auth.PrepareName("Ju\u0308rgen") // u and an accent, as some systems write it
	fmt.Println(name, len(name), err)
	_, err = auth.PrepareName("root\r\n")
	fmt.Println(err)
	// Output:
	// Jürgen 7 <nil>
	// auth: the user name has characters that no name may have
}

func ExampleThrottle() {
	throttle := auth.NewThrottle(&auth.ThrottleOptions{Free: 1, MaxWait: time.Millisecond})
	v := throttle.Guard(auth.Static(map[string]string{"anna": "secret"}))
	attacker, office := netip.MustParseAddrPort(
		"203.0.113.9:4711",
	), netip.MustParseAddrPort("192.0.2.1:4711")
	for _, guess := range []string{"123456", "password"} {
		_, err := v.Verify(
			context.Background(),
			auth.Proof{Username: "anna", Password: guess, Remote: attacker},
		)
		fmt.Println(err)
	}
	_, err := v.Verify(
		context.Background(),
		auth.Proof{Username: "anna", Password: "qwerty", Remote: attacker},
	)
	_, throttled := errors.AsType[*auth.ThrottledError](err)
	fmt.Println(throttled)
	id, err := v.Verify(
		context.Background(),
		auth.Proof{Username: "anna", Password: "secret", Remote: office},
	)
	fmt.Println(id.User, err)
	// Output:
	// auth: bad credentials
	// auth: bad credentials
	// true
	// anna <nil>
}

func ExampleServer() {
	anna := &auth.Identity{User: "anna"}
	keys, err := auth.NewSCRAMKeys("secret") // once, when the user chooses a password
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &auth.Server{
		Passwords: auth.Static(map[string]string{"anna": "secret"}),
		SCRAM: auth.SCRAMStoreFunc(func(
			ctx context.Context, c auth.Proof,
		) (string, *auth.Identity, error) {
			if c.Username != anna.User {
				return "", nil, auth.ErrBadCredentials
			}
			return keys, anna, nil
		}),
		Throttle: auth.NewThrottle(nil),
	}
	conn := auth.Conn{TLS: &tls.ConnectionState{}}
	fmt.Println(server.Mechanisms(conn))

	x, err := server.Begin(auth.Login, conn)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, response := range [][]byte{nil, []byte("anna"), []byte("secret")} {
		challenge, done, err := x.Next(context.Background(), response)
		fmt.Printf("%s %v %v\n", challenge, done, err)
	}
	fmt.Println(x.Identity().User)
	// Output:
	// [SCRAM-SHA-256 PLAIN LOGIN]
	// Username: false <nil>
	// Password: false <nil>
	//  true <nil>
	// anna
}

func ExampleServer_tokens() {
	// The application knows which user a token was made for.
	tokens := map[string]string{"2YotnFZFEjr1zCsicMWpAA": "anna"}
	server := &auth.Server{
		Tokens: auth.VerifierFunc(func(
			ctx context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			user, ok := tokens[c.Token]
			if !ok || c.Username != "" && c.Username != user {
				return nil, auth.ErrBadCredentials
			}
			return &auth.Identity{User: user}, nil
		}),
	}
	x, err := server.Begin(auth.OAuthBearer, auth.Conn{TLS: &tls.ConnectionState{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, done, err := x.Next(
		context.Background(), []byte("n,a=anna,\x01auth=Bearer 2YotnFZFEjr1zCsicMWpAA\x01\x01"),
	)
	fmt.Println(done, err, x.Identity().User)
	// Output: true <nil> anna
}

func ExampleServer_certificates() {
	server := &auth.Server{
		Certificates: auth.VerifierFunc(func(
			ctx context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			names := c.TLS.VerifiedChains[0][0].EmailAddresses
			if len(names) != 1 || c.Username != "" && c.Username != names[0] {
				return nil, auth.ErrBadCredentials
			}
			return &auth.Identity{User: names[0]}, nil
		}),
	}
	certificate := &x509.Certificate{EmailAddresses: []string{"printer@example.com"}}
	state := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{certificate}}}
	x, err := server.Begin(auth.External, auth.Conn{TLS: state})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, done, err := x.Next(context.Background(), []byte{})
	fmt.Println(done, err, x.Identity().User)
	// Output: true <nil> printer@example.com
}

func ExampleNewSCRAMKeys() {
	keys, err := auth.NewSCRAMKeys("secret")
	fmt.Println(strings.HasPrefix(keys, "SCRAM-SHA-256$15000:"), err)
	// Output: true <nil>
}

func ExampleHasher() {
	hasher := auth.NewHasher(nil)         // one for the process
	stored := auth.HashPassword("secret") // when the user chooses a password
	v := auth.VerifierFunc(func(ctx context.Context, c auth.Proof) (*auth.Identity, error) {
		if err := c.Check(); err != nil {
			return nil, err
		}
		match, err := hasher.Match(ctx, c, stored)
		switch {
		case err != nil:
			return nil, err
		case !match:
			return nil, auth.ErrBadCredentials
		}
		return &auth.Identity{User: c.Username}, nil
	})
	id, err := v.Verify(
		context.Background(), auth.Proof{Username: "anna", Password: "secret"},
	)
	fmt.Println(id.User, err)
	// Output: anna <nil>
}

func ExampleCached() {
	slow := auth.VerifierFunc(func(
		ctx context.Context, c auth.Proof,
	) (*auth.Identity, error) {
		fmt.Println("asking the directory")
		return &auth.Identity{User: c.Username}, nil
	})
	v := auth.Cached(slow, &auth.CacheOptions{TTL: time.Minute})
	for range 3 {
		id, err := v.Verify(
			context.Background(), auth.Proof{Username: "anna", Password: "secret"},
		)
		fmt.Println(id.User, err)
	}
	// Output:
	// asking the directory
	// anna <nil>
	// anna <nil>
	// anna <nil>
}

func ExampleNewSQL() {
	var db *sql.DB // the application's own, of any driver
	users := auth.NewSQL(db, `
		SELECT u.password, u.email AS name, u.senders, u.tenant
		FROM users u WHERE u.email = lower($1) AND NOT u.disabled`, nil)
	server := &auth.Server{
		Passwords: auth.Cached(users, nil),
		SCRAM:     users,
		Throttle:  auth.NewThrottle(nil),
	}
	fmt.Println(server.Mechanisms(auth.Conn{TLS: &tls.ConnectionState{}}))
	// Output: [SCRAM-SHA-256 PLAIN LOGIN]
}

func ExampleKeyring() {
	ctx := context.Background()
	keyring := auth.NewKeyring(new(auth.MemoryCredentials), &auth.KeyringOptions{
		OnRefusal: func(e *auth.CredentialError) { fmt.Println("event:", e.Label, e.Refusal) },
	})
	token, printer, err := keyring.Issue(ctx, auth.Credential{
		Owner: "anna", Label: "printer, 2nd floor",
		Senders: []string{"printer@example.com"},
		Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		PerDay:  500,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The token is shown once, to be typed into the printer.
	fmt.Println(len(token), strings.HasPrefix(token, printer.ID))

	for _, from := range []string{"192.0.2.7:9100", "203.0.113.9:9100"} {
		id, err := keyring.Verify(
			ctx,
			auth.Proof{
				Username: "anna", Password: token, Remote: netip.MustParseAddrPort(from),
			},
		)
		fmt.Println(
			errors.Is(err, auth.ErrBadCredentials), id.MaySendAs("printer@example.com"),
			id.MaySendAs("boss@example.com"),
		)
	}

	// Both tokens are good for a day.
	if _, err := keyring.Rotate(ctx, printer.ID, 24*time.Hour); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 43 true
	// false true false
	// event: printer, 2nd floor not from that address
	// true false false
}

func ExampleKeyring_Spend() {
	ctx := context.Background()
	keyring := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	_, c, err := keyring.Issue(ctx, auth.Credential{Owner: "anna", PerDay: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	id := &auth.Identity{User: "anna", Credential: c.ID} // of a session
	for range 2 {
		err := keyring.Spend(ctx, id)
		if e, ok := errors.AsType[*auth.CredentialError](err); ok {
			err = errors.New(string(e.Refusal))
		}
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// too many messages on a day
}

func ExampleNewSQLCredentials() {
	var db *sql.DB // the application's own, of any driver
	keyring := auth.NewKeyring(
		auth.NewSQLCredentials(db, &auth.SQLCredentialsOptions{Table: "mail_credentials"}),
		nil,
	)
	var _ auth.Verifier = keyring
}
