package oauthclient

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"time"
)

// assertionLife is how long an assertion is good for.
const assertionLife = 5 * time.Minute

// assertion proves who the client is by a token that it signs itself (RFC 7523
// section 2.2). The header names the certificate (RFC 7515 section 4.1.8).
func assertion(c *Config) (url.Values, error) {
	key, ok := c.Certificate.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the certificate has no RSA key")
	}
	thumb := sha256.Sum256(c.Certificate.Certificate[0])
	now := time.Now()
	text := section(map[string]any{
		"alg": "PS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(thumb[:]),
	}) + "." + section(map[string]any{
		"aud": c.TokenURL, "iss": c.ClientID, "sub": c.ClientID, "jti": rand.Text(),
		"nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPSS(
		rand.Reader, key, crypto.SHA256, sum[:],
		&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	)
	if err != nil {
		return nil, err
	}
	return url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {text + "." + base64.RawURLEncoding.EncodeToString(signature)},
	}, nil
}

func section(claims map[string]any) string {
	text, _ := json.Marshal(claims) // strings and numbers always can be
	return base64.RawURLEncoding.EncodeToString(text)
}
