//go:build deps

package postern

import (
	_ "github.com/emersion/go-msgauth/dkim"
	_ "github.com/emersion/go-sasl"
	_ "github.com/emersion/go-smtp"
	_ "github.com/hashicorp/go-multierror"
	_ "github.com/xdg-go/scram"
	_ "golang.org/x/crypto/bcrypt"
	_ "golang.org/x/net/idna"
)
