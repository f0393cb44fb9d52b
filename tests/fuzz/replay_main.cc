// What stands in for libFuzzer where there is none: gives each file of the folder that is named
// on the command line to the fuzz target, once. The last that it names is the one that failed.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  std::set<fs::path> files;
  if (argc == 2 && fs::is_directory(argv[1])) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(argv[1])) {
      if (entry.is_regular_file()) files.insert(entry.path());
    }
  }
  if (files.empty()) {
    std::cerr << "expected one folder with inputs\n";
    return 2;
  }
  for (const fs::path& file : files) {
    std::cout << file.string() << std::endl;
    std::ifstream stream(file, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
    if (!stream) {
      std::cerr << "it cannot be read\n";
      return 2;
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
}
