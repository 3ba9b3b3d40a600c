package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Several processes keep one cap together when they share a Counter, such as
// the store of their queue.
func ExampleCounter() {
	var users auth.MemoryCredentials
	queue := memspool.New(nil) // one in a database for processes apart
	defer queue.Close()
	processes := []*auth.Keyring{
		auth.NewKeyring(&users, &auth.KeyringOptions{Counter: queue}),
		auth.NewKeyring(&users, &auth.KeyringOptions{Counter: queue}),
	}
	ctx := context.Background()
	_, c, err := processes[0].Issue(ctx, auth.Credential{Owner: "printer", PerMinute: 2})
	if err != nil {
		log.Fatal(err)
	}
	sender := &auth.Identity{User: c.Owner, Credential: c.ID}
	for i := range 4 {
		err := processes[i%2].Spend(ctx, sender)
		if refused, ok := errors.AsType[*auth.CredentialError](err); ok {
			fmt.Println(refused.Refusal)
		} else {
			fmt.Println(err)
		}
	}
	// Output:
	// <nil>
	// <nil>
	// too many messages in a minute
	// too many messages in a minute
}
