import Testing

@testable import Policy

/// The policy that this text makes, or its errors as they are printed.
func outcome(_ text: String) -> (policy: Policy?, errors: [String]) {
  do throws(PolicyErrors) {
    return (try PolicyFile.parse(Array(text.utf8), path: "policy.yaml"), [])
  } catch {
    return (nil, error.errors.map(\.description))
  }
}

func errors(in text: String) -> [String] { outcome(text).errors }

/// The repository's folder.
let repository = String(#filePath.dropLast("/Tests/PolicyTests/Support.swift".count))
