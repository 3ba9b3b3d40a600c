module github.com/postern-mail/postern/auth/shacrypt

go 1.26.0

require (
	github.com/go-crypt/crypt v0.14.15
	github.com/postern-mail/postern v0.0.0
)

require (
	github.com/go-crypt/x v0.4.16 // indirect
	github.com/xdg-go/scram v1.4.0 // indirect
	github.com/xdg-go/stringprep v1.0.4 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/postern-mail/postern => ../../
