// Written by `mizan edge worker examples.tracker.app:mizan`. Changes will be lost.
export const tables = {
  "call": "^/api/mizan/call(?:/([^/]*))?/?$",
  "calls": {
    "add_comment": [
      "issue",
      "board",
      "page"
    ],
    "archive_project": [
      "projects",
      "board",
      "page",
      "work",
      "workload"
    ],
    "assign_issue": [
      "issue",
      "board",
      "page",
      "workload"
    ],
    "close_issues": [
      "issue",
      "board",
      "page",
      "projects",
      "workload"
    ],
    "edit_comment": [
      "issue"
    ],
    "fix_merged": [
      "issue",
      "board",
      "page",
      "projects",
      "workload"
    ],
    "move_issue": [
      "issue",
      "board",
      "page",
      "projects"
    ],
    "rename_issue": [
      "issue",
      "board",
      "page"
    ],
    "report_issue": [
      "board",
      "page",
      "projects",
      "workload"
    ],
    "set_status": [
      "issue",
      "board",
      "page",
      "projects",
      "workload"
    ],
    "take_issue": [
      "issue",
      "board",
      "page",
      "workload",
      "work"
    ]
  },
  "entry": "^[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)?(?:;[A-Za-z0-9._~-]+=(?:[A-Za-z0-9._~-]|%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-DF]))*)*$",
  "harmless": [
    "abilities",
    "board_page",
    "issue_comments",
    "issue_detail",
    "my_issues",
    "organisation",
    "people_list",
    "project_list",
    "project_page",
    "whoami",
    "workload"
  ],
  "leftOut": [
    "Authorization",
    "X-Mizan-Token",
    "Cookie",
    "Forwarded",
    "Front-End-Https",
    "X-Forwarded-Host",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Original-Host",
    "X-Original-Uri",
    "X-Original-Url",
    "X-Rewrite-Url",
    "X-Scheme",
    "X-Script-Name",
    "X-Url-Scheme"
  ],
  "maximumEntries": 32,
  "passing": [
    "^(?:/api/mizan/(?:ctx|call)(?:/[^?]*)?)$"
  ],
  "routes": [
    [
      "^(?:/p/[^/?]+/report/?)$",
      [
        "board",
        "page",
        "projects",
        "workload"
      ]
    ],
    [
      "^(?:/webhooks/git/?)$",
      [
        "board",
        "issue",
        "page",
        "projects",
        "workload"
      ]
    ]
  ],
  "shapes": {
    "abilities": [
      {
        "names": [],
        "templates": [
          {
            "head": "abilities",
            "names": []
          }
        ]
      }
    ],
    "board": [
      {
        "names": [
          "org_id",
          "project_id"
        ],
        "templates": [
          {
            "head": "board",
            "names": [
              "org_id",
              "project_id"
            ]
          }
        ]
      },
      {
        "names": [
          "project_id"
        ],
        "templates": [
          {
            "head": "board",
            "names": [
              "project_id"
            ]
          }
        ]
      },
      {
        "names": [],
        "templates": [
          {
            "head": "board",
            "names": []
          }
        ]
      }
    ],
    "issue": [
      {
        "names": [
          "issue_id",
          "org_id"
        ],
        "templates": [
          {
            "head": "issue",
            "names": [
              "issue_id",
              "org_id"
            ]
          }
        ]
      },
      {
        "names": [
          "issue_id"
        ],
        "templates": [
          {
            "head": "issue",
            "names": [
              "issue_id"
            ]
          }
        ]
      },
      {
        "names": [],
        "templates": [
          {
            "head": "issue",
            "names": []
          }
        ]
      }
    ],
    "me": [
      {
        "names": [],
        "templates": [
          {
            "head": "me",
            "names": []
          }
        ]
      }
    ],
    "organisation": [
      {
        "names": [],
        "templates": [
          {
            "head": "organisation",
            "names": []
          }
        ]
      }
    ],
    "page": [
      {
        "names": [
          "project_id"
        ],
        "templates": [
          {
            "head": "page",
            "names": [
              "project_id"
            ]
          }
        ]
      },
      {
        "names": [],
        "templates": [
          {
            "head": "page",
            "names": []
          }
        ]
      }
    ],
    "people": [
      {
        "names": [],
        "templates": [
          {
            "head": "people",
            "names": []
          }
        ]
      }
    ],
    "projects": [
      {
        "names": [
          "org_id"
        ],
        "templates": [
          {
            "head": "projects",
            "names": [
              "org_id"
            ]
          }
        ]
      },
      {
        "names": [],
        "templates": [
          {
            "head": "projects",
            "names": []
          }
        ]
      }
    ],
    "work": [
      {
        "names": [
          "org_id",
          "person_id"
        ],
        "templates": [
          {
            "head": "work",
            "names": [
              "org_id",
              "person_id"
            ]
          }
        ]
      },
      {
        "names": [
          "org_id"
        ],
        "templates": [
          {
            "head": "work",
            "names": [
              "org_id"
            ]
          }
        ]
      },
      {
        "names": [
          "person_id"
        ],
        "templates": [
          {
            "head": "work",
            "names": [
              "person_id"
            ]
          }
        ]
      },
      {
        "names": [],
        "templates": [
          {
            "head": "work",
            "names": []
          }
        ]
      }
    ],
    "workload": [
      {
        "names": [
          "org_id"
        ],
        "templates": [
          {
            "head": "workload",
            "names": [
              "org_id"
            ]
          }
        ]
      },
      {
        "names": [],
        "templates": [
          {
            "head": "workload",
            "names": []
          }
        ]
      }
    ]
  },
  "surfaces": [
    {
      "captures": {
        "project_id": "^/p/((?:[A-Za-z0-9._~-]|%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-DF]))+)/?$"
      },
      "context": "page",
      "filled": {},
      "hasLists": false,
      "inQuery": [],
      "isPage": true,
      "lists": [],
      "nullable": [],
      "params": [
        "project_id"
      ],
      "path": "/p/{project_id}/",
      "pattern": "^(?![^?]*/\\.{1,2}(?:[/?]|$))/p/(?:[A-Za-z0-9._~-]|%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-DF]))+/?$",
      "templates": [
        {
          "head": "page",
          "names": []
        },
        {
          "head": "page",
          "names": [
            "project_id"
          ]
        }
      ],
      "twoSpellings": true,
      "version": "0.466a1a2681d29498"
    }
  ]
};
