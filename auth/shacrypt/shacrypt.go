// Package shacrypt checks passwords against hashes of SHA-256 crypt and SHA-512
// crypt ($5$, $6$), as /etc/shadow and older password files have them. It is a
// module of its own, since what is new should have an argon2id or bcrypt hash
// and needs none of this.
package shacrypt

import (
	"errors"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// maxPassword is the longest password in octets, as in libxcrypt. The work
// grows with its length.
const maxPassword = 512

// maxRounds is what a server can do for everyone who asks: a second or so.
const maxRounds = 1_000_000

// Match tells whether a password has the hash. A password longer than 512
// octets has none. Set it as the Other of [auth.HasherOptions]. The error tells
// of a hash that is malformed, of another kind, or takes more than a million
// rounds, and holds nothing of it.
//
// [auth.HasherOptions]:
// https://pkg.go.dev/github.com/postern-mail/postern/auth#HasherOptions
func Match(hash, password string) (bool, error) {
	if !strings.HasPrefix(hash, "$5$") && !strings.HasPrefix(hash, "$6$") {
		return false, errors.New("shacrypt: not a hash of SHA-256 or SHA-512 crypt")
	}
	if rest, ok := strings.CutPrefix(hash[3:], "rounds="); ok {
		rounds, _, _ := strings.Cut(rest, "$")
		if n, err := strconv.ParseUint(rounds, 10, 32); err != nil || n > maxRounds {
			return false, errors.New("shacrypt: too many rounds")
		}
	}
	if len(password) > maxPassword {
		return false, nil
	}
	digest, err := shacrypt.Decode(hash)
	if err != nil { // its text may show the hash
		return false, errors.New("shacrypt: malformed hash")
	}
	match, err := digest.MatchAdvanced(password)
	if err != nil {
		return false, errors.New("shacrypt: the hash cannot be computed")
	}
	return match, nil
}
