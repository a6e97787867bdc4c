# Verifies a token with Ruby's `json-jwt`: token and JWK Set as JSON on standard input; the library's version and `sub` on standard output.

require 'json/jwt'

given = JSON.parse($stdin.read)
puts Gem.loaded_specs['json-jwt'].version
puts JSON::JWT.decode(given['token'], JSON::JWK::Set.new(given['jwks']))['sub']
