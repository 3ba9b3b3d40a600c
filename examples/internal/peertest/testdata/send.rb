# Sends a message with Net::SMTP of Ruby. The job comes as JSON, the refusal goes out.
require 'json'
require 'net/smtp'
require 'openssl'

job = JSON.parse(ARGV[0])
context = OpenSSL::SSL::SSLContext.new
context.set_params(ca_file: job['ca'], verify_mode: OpenSSL::SSL::VERIFY_PEER)
smtp = Net::SMTP.new(job['host'], job['port'])
smtp.disable_starttls
smtp.enable_starttls(context) if job['security'] == 'STARTTLS'
smtp.enable_tls(context) if job['security'] == 'implicit'
smtp.read_timeout = 60
logon = job['mechanism'].empty? ? [] : [job['user'], job['password'], job['mechanism'].downcase.to_sym]
begin
  smtp.start('client.example.test', *logon) do |s|
    s.send_message(File.binread(job['file']), job['from'], job['to'])
  end
rescue Net::ProtocolError, OpenSSL::SSL::SSLError => e
  abort e.message
end
