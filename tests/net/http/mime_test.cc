// mime_test.cc: content types by extension.

#include "net/http/mime.h"

#include <gtest/gtest.h>

namespace evring::net::http {
namespace {

TEST(Mime, WhatAWebPageNeedsIsKnown) {
  EXPECT_EQ(ContentTypeOf("index.html"), "text/html; charset=utf-8");
  EXPECT_EQ(ContentTypeOf("a/b/style.css"), "text/css; charset=utf-8");
  EXPECT_EQ(ContentTypeOf("app.js"), "text/javascript; charset=utf-8");
  EXPECT_EQ(ContentTypeOf("data.json"), "application/json");
  EXPECT_EQ(ContentTypeOf("x.png"), "image/png");
  EXPECT_EQ(ContentTypeOf("x.jpg"), "image/jpeg");
  EXPECT_EQ(ContentTypeOf("x.svg"), "image/svg+xml");
  EXPECT_EQ(ContentTypeOf("x.webp"), "image/webp");
  EXPECT_EQ(ContentTypeOf("x.wasm"), "application/wasm");
  EXPECT_EQ(ContentTypeOf("x.woff2"), "font/woff2");
  EXPECT_EQ(ContentTypeOf("favicon.ico"), "image/vnd.microsoft.icon");
  EXPECT_EQ(ContentTypeOf("x.7z"), "application/x-7z-compressed");  // the first and the last of the table
  EXPECT_EQ(ContentTypeOf("x.zst"), "application/zstd");
}

TEST(Mime, OnlyTheLastExtensionCountsInAnyCase) {
  EXPECT_EQ(ContentTypeOf("x.tar.gz"), "application/gzip");
  EXPECT_EQ(ContentTypeOf("x.html.PNG"), "image/png");
  EXPECT_EQ(ContentTypeOf("a.html/x"), "application/octet-stream");
}

TEST(Mime, TheRestIsBytes) {
  for (const char* path :
       {"", "/", "README", "x.", "x.unknown", ".html", "a/.css", "x.verylongextensionindeed", "x.htmll", "x.ht"}) {
    EXPECT_EQ(ContentTypeOf(path), "application/octet-stream") << path;
  }
}

}  // namespace
}  // namespace evring::net::http
