package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// HashPassword returns what to store for a password: an argon2id hash with a
// salt of its own (RFC 9106) that takes 19 MiB and two passes, in the form
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
//
// Users who log on by SCRAM need [NewSCRAMKeys] instead.
func HashPassword(password string) string {
	a := argon2id{memory: 19 << 10, passes: 2, threads: 1, salt: make([]byte, 16)}
	rand.Read(a.salt) // never fails
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argon2Prefix, argon2.Version,
		a.memory, a.passes, a.threads, b64(a.salt), b64(a.hash(password, 32)))
}

// A storedHash is a hash of a known format.
type storedHash interface {
	match(password string) bool
}

var errHashFormat = errors.New("not a hash of a known format")

// parseHash reads a hash. Its errors hold nothing of it.
func parseHash(hash string) (storedHash, error) {
	switch {
	case strings.HasPrefix(hash, "$2"):
		return parseBcrypt(hash)
	case strings.HasPrefix(hash, argon2Prefix):
		return parseArgon2id(hash)
	case strings.HasPrefix(hash, scramPrefix):
		k, err := parseSCRAMKeys(hash)
		return scramHash(k), err
	}
	return nil, errHashFormat
}

type bcryptHash string

const (
	bcryptLen    = 60 // $2b$10$, 22 characters of salt, 31 of hash
	bcryptDigits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	maxCost      = 18 // a minute or so; more is a slip of the pen that nobody could log on with
	maxPassword  = 72 // octets that bcrypt looks at
)

func parseBcrypt(hash string) (storedHash, error) {
	if len(hash) != bcryptLen || !strings.ContainsRune("aby", rune(hash[2])) || hash[3] != '$' ||
		hash[6] != '$' || strings.Trim(hash[7:], bcryptDigits) != "" {
		return nil, errors.New("malformed bcrypt hash")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > maxCost {
		return nil, fmt.Errorf(
			"the cost of the bcrypt hash is not between %d and %d", bcrypt.MinCost, maxCost,
		)
	}
	return bcryptHash(hash), nil
}

func (h bcryptHash) match(password string) bool {
	tooLong := len(password) > maxPassword
	if tooLong { // do the work all the same
		password = password[:maxPassword]
	}
	return bcrypt.CompareHashAndPassword([]byte(h), []byte(password)) == nil && !tooLong
}

// argon2id is a hash in the PHC string format.
type argon2id struct {
	memory, passes uint32 // memory in KiB
	threads        uint8
	salt, sum      []byte
}

const (
	argon2Prefix = "$argon2id$"
	maxMemory    = 256 << 10 // KiB
	maxPasses    = 32
	maxThreads   = 16
)

func parseArgon2id(hash string) (storedHash, error) {
	malformed := errors.New("malformed argon2id hash")
	parts := strings.Split(hash, "$") // "", "argon2id", v=, m=, salt, hash
	if len(parts) != 6 || len(hash) > 512 {
		return nil, malformed
	}
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, fmt.Errorf("argon2id hash of another version than %d", argon2.Version)
	}
	var h argon2id
	if _, err := fmt.Sscanf(
		parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.threads,
	); err != nil {
		return nil, malformed
	}
	if fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.passes, h.threads) != parts[3] {
		return nil, malformed
	}
	if h.memory < 8 || h.memory > maxMemory || h.passes < 1 || h.passes > maxPasses ||
		h.threads < 1 || h.threads > maxThreads {
		return nil, fmt.Errorf(
			"argon2id hash that takes more than %d KiB, %d passes or %d threads, or none",
			maxMemory, maxPasses, maxThreads,
		)
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.sum, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.sum) < 16 || len(h.sum) > 64 {
		return nil, malformed
	}
	return h, nil
}

func (h argon2id) hash(password string, size uint32) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, size)
}

func (h argon2id) match(password string) bool {
	return hmac.Equal(h.hash(password, uint32(len(h.sum))), h.sum)
}
