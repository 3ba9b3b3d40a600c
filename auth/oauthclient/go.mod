module github.com/postern-mail/postern/auth/oauthclient

go 1.26.0

require (
	github.com/postern-mail/postern v0.0.0
	golang.org/x/oauth2 v0.38.0
)

replace github.com/postern-mail/postern => ../../
