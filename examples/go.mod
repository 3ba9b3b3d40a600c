module github.com/postern-mail/postern/examples

go 1.26.0

require github.com/postern-mail/postern v0.0.0

require github.com/BurntSushi/toml v1.6.0 // indirect

replace github.com/postern-mail/postern => ../
