# A Worker with an API key, with Ruby's `openid_connect`: `ruby openid_connect.rb ISSUER`; ID and key are in the environment.

require 'openid_connect'

# Only for plain http on this machine: leave it out where the Server has TLS.
SWD.url_builder = URI::HTTP

# --- configuration: the pages show this part --- [configuration]
config = OpenIDConnect::Discovery::Provider::Config.discover!(ARGV.fetch(0))
client = Rack::OAuth2::Client.new(
  identifier: ENV.fetch('LYFTDATA_WORKER_ID'),
  secret: ENV.fetch('LYFTDATA_WORKER_API_KEY'),
  token_endpoint: config.token_endpoint,
  # Not used: the token endpoint is given whole.
  host: URI(config.token_endpoint).host
)
token = client.access_token!(resource: ENV['AUDIENCE'])
claims = JSON::JWT.decode(token.access_token, config.jwks)
# --- [/configuration]

puts JSON.generate(claims.slice('sub', 'aud', 'scope'))
