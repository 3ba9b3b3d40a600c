package auth_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/auth"
)

// A protocol of your own runs a mechanism message by message.
func ExampleExchange() {
	ctx := context.Background()
	server := &auth.Server{Passwords: auth.Static(map[string]string{"anna": "secret"})}
	x, err := server.Begin(auth.Login, auth.Conn{InsecurePlaintext: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	var response []byte // none is needed to begin
	for _, next := range []string{"anna", "secret", ""} {
		challenge, done, err := x.Next(ctx, response)
		if err != nil {
			fmt.Println(err)
			return
		}
		if done {
			break
		}
		fmt.Printf("%s %s\n", challenge, next)
		response = []byte(next)
	}
	fmt.Println(x.Identity().User)
	// Output:
	// Username: anna
	// Password: secret
	// anna
}

// Keys for SCRAM are made when a user chooses a password, and looked up
// wherever users are kept.
func ExampleSCRAMStoreFunc() {
	keys, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		fmt.Println(err)
		return
	}
	users := map[string]string{"anna": keys}
	server := &auth.Server{SCRAM: auth.SCRAMStoreFunc(func(
		_ context.Context, p auth.Proof,
	) (string, *auth.Identity, error) {
		keys, known := users[p.Username]
		if !known {
			return "", nil, auth.ErrBadCredentials
		}
		return keys, &auth.Identity{User: p.Username}, nil
	})}
	fmt.Println(server.Mechanisms(auth.Conn{}))
	// Output: [SCRAM-SHA-256]
}

// An application tells people why their device may not send.
func ExampleRefusal() {
	ctx := context.Background()
	keyring := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	token, c, err := keyring.Issue(ctx, auth.Credential{Owner: "anna", Held: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = keyring.Verify(ctx, auth.Proof{Username: "anna", Password: token})
	var refused *auth.CredentialError
	if errors.As(err, &refused) && refused.ID == c.ID {
		fmt.Println(refused.Refusal, refused.Refusal == auth.Held, refused.Temporary())
	}
	// Output: held true false
}
