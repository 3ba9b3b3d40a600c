package auth_test

import (
	"context"
	"fmt"

	"github.com/postern-mail/postern/auth"
)

func ExampleWithSenders() {
	v := auth.WithSenders(
		auth.Static(map[string]string{"app": "secret"}),
		map[string][]string{"app": {"shop@example.com", "*@news.example.com"}},
	)
	id, err := v.Verify(context.Background(), auth.Proof{Username: "app", Password: "secret"})
	fmt.Println(id.MaySendAs("shop@example.com"), err)
	// Output: true <nil>
}

func ExampleSCRAMWithSenders() {
	keys, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		fmt.Println(err)
		return
	}
	users := auth.SCRAMStoreFunc(func(
		_ context.Context, c auth.Proof,
	) (string, *auth.Identity, error) {
		if c.Username != "app" {
			return "", nil, auth.ErrBadCredentials
		}
		return keys, &auth.Identity{User: "app"}, nil
	})
	own := map[string][]string{"app": {"shop@example.com"}}
	server := &auth.Server{SCRAM: auth.SCRAMWithSenders(users, own)}
	_, id, err := server.SCRAM.SCRAMKeys(context.Background(), auth.Proof{Username: "app"})
	fmt.Println(id.MaySendAs("shop@example.com"), err)
	// Output: true <nil>
}
